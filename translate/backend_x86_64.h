// What the files of the x86-64 backend share: its registers, places in struct cpu, results. For
// translate/backend_x86_64*.c on x86-64 hosts.
#ifndef DOPPEL_TRANSLATE_BACKEND_X86_64_H
#define DOPPEL_TRANSLATE_BACKEND_X86_64_H

#include "translate/backend.h"

#define CPU HOST_R15
#define S0 HOST_R13
#define S1 HOST_R14
#define FIELD(member) x86_memory_at(offsetof(struct cpu, member))

extern const struct register_file x86_file;

static inline struct emit_memory x86_memory_at(size_t offset)
{
    return (struct emit_memory){.base = CPU, .index = HOST_NO_INDEX, .displacement = (int32_t)offset};
}

/// A variable's slot.
static inline struct emit_memory x86_home(unsigned var)
{
    return x86_memory_at(offsetof(struct cpu, var) + var * sizeof(uint64_t));
}

static inline struct emit_memory x86_at_register(uint8_t reg)
{
    return (struct emit_memory){.base = reg, .index = HOST_NO_INDEX};
}

static inline void x86_load_home(struct emit *e, uint8_t reg, unsigned var)
{
    emit_load(e, WIDTH_64, reg, x86_home(var));
}

static inline void x86_store_home(struct emit *e, unsigned var, uint8_t reg)
{
    emit_store(e, WIDTH_64, x86_home(var), reg);
}

static inline unsigned x86_at_least_32(unsigned width)
{
    return width < WIDTH_32 ? WIDTH_32 : width;
}

static inline void x86_copy(struct translation *t, unsigned width, uint8_t to, uint8_t from)
{
    if (to != from)
        emit_move(&t->emit, width, to, from);
}

// Floating point and vectors in the host's registers (backend_x86_64_fpu.c).
void x86_fpu_routines(struct emit *e, struct fpu_routines *routines);
/// Before C code: resident state goes to struct cpu. Changes flags, no general register.
void x86_fpu_spill(struct emit *e, const struct fpu_routines *routines);
void x86_fpu_after_call(struct translation *t);
/// Calls C code that only walks pages: residency survives.
void x86_fpu_call_walker(struct translation *t, const void *function);
void x86_fpu_prepare(struct translation *t, const struct uop *u);
void x86_host_features(uint64_t features[2]);
void x86_x87_note_pointers(struct translation *t, uint64_t operand);
void x86_x87_store_data(struct translation *t, uint64_t operand, unsigned offset);
void x86_x87_flush_pointers(struct translation *t, struct x87_pointers *pointers);
// SIMD and x87 rows (backend_x86_64_sse.c).
/// RESIDENT_* that the uop at `index` works on in host code.
uint8_t x86_simd_needs(const struct translation *t, unsigned index);
/// Whether this CALL (of t->pass.uops) becomes host code without a call.
bool x86_inlines_row(const struct translation *t, unsigned index);
bool x86_inlines_call(const struct translation *t, const struct uop *u);
/// struct backend's stays.
bool x86_stays(const struct pass_block *pass, unsigned index);
bool x86_emit_inline_row(struct translation *t, const struct uop *u);
bool x86_emit_inline_call(struct translation *t, const struct uop *u);
void x86_emit_vector_load(struct translation *t, const struct uop *u);
void x86_emit_vector_store(struct translation *t, const struct uop *u);
void x86_emit_vector_move(struct translation *t, const struct uop *u);
// Of backend_x86_64.c: the check of an address in t->a, handle to u->dst (S0 when it has no register); a branch to the
// interpreter, which begins with the uop at work.
void x86_emit_xlat(struct translation *t, const struct uop *u);
void x86_add_resume(struct translation *t, emit_place from);

/// Calls a C function; rdi and further arguments are set.
static inline void x86_call(struct translation *t, const void *function)
{
    x86_fpu_spill(&t->emit, t->fpu);
    emit_move_imm(&t->emit, HOST_RAX, (uint64_t)(uintptr_t)function);
    emit_call_register(&t->emit, HOST_RAX);
    x86_fpu_after_call(t);
    t->host_flags = 0;
}

/// Where to compute the value of u->dst: in its own register where that disturbs neither b nor bits to be kept.
uint8_t x86_result_register(struct translation *t, const struct uop *u);
/// The value of u->dst was computed in `reg`, 32-bit values zero-extended.
void x86_finish_result(struct translation *t, const struct uop *u, uint8_t reg);
/// Writes `from` to a variable at a width. `from` may hold garbage above it.
void x86_write_var(struct translation *t, unsigned var, unsigned width, uint8_t from);

// Flags: struct backend's save_carry and condition.
void x86_save_carry(struct translation *t);
void x86_make_condition(struct translation *t, unsigned condition);

// Emitters of backend_x86_64_alu.c.
void x86_emit_add(struct translation *t, const struct uop *u);
void x86_emit_sub(struct translation *t, const struct uop *u);
void x86_emit_and(struct translation *t, const struct uop *u);
void x86_emit_or(struct translation *t, const struct uop *u);
void x86_emit_xor(struct translation *t, const struct uop *u);
void x86_emit_adc(struct translation *t, const struct uop *u);
void x86_emit_sbb(struct translation *t, const struct uop *u);
void x86_emit_not(struct translation *t, const struct uop *u);
void x86_emit_neg(struct translation *t, const struct uop *u);
void x86_emit_inc(struct translation *t, const struct uop *u);
void x86_emit_dec(struct translation *t, const struct uop *u);
void x86_emit_shift(struct translation *t, const struct uop *u);
/// The host's flags are the guest's now, but for those left out of the mask.
void x86_made_flags(struct translation *t, enum cc_op op, const struct uop *u, uint8_t result, uint32_t mask);

/// One uop by the interpreter's own function.
void x86_emit_by_alu(struct translation *t, const struct uop *u);

// Emitters of backend_x86_64_bits.c.
bool x86_host_has_bmi2(const struct translation *t);
void x86_emit_rotate(struct translation *t, const struct uop *u);
void x86_emit_multiply(struct translation *t, const struct uop *u);
void x86_emit_count(struct translation *t, const struct uop *u);
void x86_emit_scan(struct translation *t, const struct uop *u);
void x86_emit_lowest_bit(struct translation *t, const struct uop *u);
void x86_emit_bit_field(struct translation *t, const struct uop *u);
void x86_emit_scatter_gather(struct translation *t, const struct uop *u);
void x86_emit_shift_no_flags(struct translation *t, const struct uop *u); // by a register, 32 or 64 bits, with BMI2

#endif
