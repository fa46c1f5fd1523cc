// The x86-64 backend's floating point and vector state. While host code runs, guest xmm0..15 and MXCSR may live in the
// host's own, and the guest's x87 in the host's x87 with the same TOP: cpu->resident tells which. Whatever calls C code
// spills first (but for the page walker, which gets the vector registers stored and loaded around it and does not touch
// x87); a block that computes makes sure of residency at its start and again after calls. State with an unmasked
// exception is never resident: such blocks go on in the interpreter, whose C functions raise faults.
//
// Also here: which instruction the guest's x87 saw last (FIP, FCS, FOP), stored no more often than somebody can look.
#ifdef __x86_64__

#include <cpuid.h>

#include "cpu/fpu.h"
#include "cpu/helper.h"
#include "cpu/model.h"
#include "translate/backend_x86_64.h"

#define SSE_REGISTERS 16
#define X87_IMAGE_BYTES 112 // FNSAVE's 108, and what keeps the stack aligned

static const uint32_t host_mxcsr = MXCSR_DEFAULT;

// ---- x87: between struct cpu and FNSAVE's image (SDM vol. 1 fig. 8-9) ---------------------------------------------
struct x87_image {
    uint16_t control, unused0, status, unused1, tag, unused2;
    uint32_t ip, cs, dp, ds;
    uint8_t st[8][10];
};

static void pack_x87(const struct cpu *cpu, struct x87_image *image)
{
    const struct x87 *x87 = &cpu->x87;
    *image = (struct x87_image){
        .control = x87->control,
        .status = (uint16_t)((x87->status & ~X87_TOP) | (x87->top & 7) << 11),
    };
    for (unsigned i = 0; i < 8; i++) {
        const struct f80 *reg = &x87->reg[(x87->top + i) & 7];
        memcpy(image->st[i], &reg->significand, 8);
        memcpy(image->st[i] + 8, &reg->sign_exponent, 2);
        if (!(x87->valid >> i & 1))
            image->tag |= (uint16_t)(3u << 2 * i);
    }
}

static void unpack_x87(struct cpu *cpu, const struct x87_image *image)
{
    struct x87 *x87 = &cpu->x87;
    x87->control = image->control;
    x87->status = image->status & (uint16_t)~X87_TOP;
    x87->top = image->status >> 11 & 7;
    x87->valid = 0;
    for (unsigned i = 0; i < 8; i++) {
        struct f80 *reg = &x87->reg[(x87->top + i) & 7];
        memcpy(&reg->significand, image->st[i], 8);
        memcpy(&reg->sign_exponent, image->st[i] + 8, 2);
        if ((image->tag >> 2 * i & 3) != 3)
            x87->valid |= (uint8_t)(1u << i);
    }
}

// ---- ways in and out ------------------------------------------------------------------------------------------------
static const uint8_t caller_saved[] = {HOST_RAX, HOST_RCX, HOST_RDX, HOST_RSI, HOST_RDI,
                                       HOST_R8,  HOST_R9,  HOST_R10, HOST_R11};

void x86_push_caller_saved(struct emit *e)
{
    for (unsigned i = 0; i < ARRAY_SIZE(caller_saved); i++)
        emit_push(e, caller_saved[i]);
}

void x86_pop_caller_saved(struct emit *e)
{
    for (unsigned i = ARRAY_SIZE(caller_saved); i-- > 0;)
        emit_pop(e, caller_saved[i]);
}

static void call_c(struct emit *e, const void *function)
{
    emit_move_imm(e, HOST_RAX, (uint64_t)(uintptr_t)function);
    emit_call_register(e, HOST_RAX);
}

static struct emit_memory xmm_home(unsigned n)
{
    return x86_memory_at(offsetof(struct cpu, vreg) + n * sizeof(union vreg));
}

/// A field of the struct cpu that `base`, CPU or a register, points to.
static struct emit_memory from(uint8_t base, struct emit_memory field)
{
    field.base = base;
    return field;
}

/// No general register changes.
static void store_sse(struct emit *e, uint8_t base)
{
    for (unsigned i = 0; i < SSE_REGISTERS; i++)
        emit_vector_store(e, 16, from(base, xmm_home(i)), (uint8_t)i);
    emit_store_mxcsr(e, from(base, FIELD(mxcsr)));
}

static void load_sse(struct emit *e, uint8_t base)
{
    for (unsigned i = 0; i < SSE_REGISTERS; i++)
        emit_vector_load(e, 16, (uint8_t)i, from(base, xmm_home(i)));
    emit_load_mxcsr(e, from(base, FIELD(mxcsr)));
}

static const struct emit_avx_op vzeroupper = {1, 0, 0x77, false, false};

/// With upper halves, which are then zeros, so that C code finds none.
static void store_avx(struct emit *e, uint8_t base)
{
    for (unsigned i = 0; i < SSE_REGISTERS; i++)
        emit_avx_store(e, 32, from(base, xmm_home(i)), (uint8_t)i);
    emit_avx_plain(e, vzeroupper);
    emit_store_mxcsr(e, from(base, FIELD(mxcsr)));
}

static struct emit_memory upper_home(unsigned n)
{
    struct emit_memory upper = xmm_home(n);
    upper.displacement += 16;
    return upper;
}

/// ZF: the upper halves in memory are all zeros, as they mostly are behind a VZEROUPPER. Changes xmm0, xmm1.
static void test_upper(struct emit *e, uint8_t base)
{
    static const struct emit_avx_op vpor = {1, 1, 0xeb, false, false}, vptest = {2, 1, 0x17, false, false};
    emit_avx_load(e, 16, 0, from(base, upper_home(0)));
    emit_avx_load(e, 16, 1, from(base, upper_home(1)));
    for (unsigned i = 2; i < SSE_REGISTERS; i++)
        emit_avx_memory(e, vpor, i % 2, i % 2, from(base, upper_home(i)));
    emit_avx_registers(e, vpor, 0, 0, 1);
    emit_avx_registers(e, vptest, 0, 0, 0);
}

/// Registers whose upper halves were written, be it with zeros, slow down instructions without VEX on some processors:
/// zeros come as what loads of 16 bytes leave there. Changes flags.
static void load_avx(struct emit *e, uint8_t base)
{
    emit_place zeros, done;
    test_upper(e, base);
    zeros = emit_jump_if(e, EMIT_EQUAL);
    for (unsigned i = 0; i < SSE_REGISTERS; i++)
        emit_avx_load(e, 32, (uint8_t)i, from(base, xmm_home(i)));
    done = emit_jump(e);
    emit_patch_here(e, zeros);
    for (unsigned i = 0; i < SSE_REGISTERS; i++)
        emit_avx_load(e, 16, (uint8_t)i, from(base, xmm_home(i)));
    emit_patch_here(e, done);
    emit_load_mxcsr(e, from(base, FIELD(mxcsr)));
}

/// The upper halves alone. Changes flags.
static void load_upper(struct emit *e)
{
    static const struct emit_avx_op vinsertf128 = {3, 1, 0x18, false, true};
    emit_place zeros, done;
    for (unsigned i = 0; i < 2; i++)
        emit_avx_store(e, 16, xmm_home(i), (uint8_t)i);
    test_upper(e, CPU);
    for (unsigned i = 0; i < 2; i++)
        emit_avx_load(e, 16, (uint8_t)i, xmm_home(i));
    zeros = emit_jump_if(e, EMIT_EQUAL);
    for (unsigned i = 0; i < SSE_REGISTERS; i++) {
        emit_avx_memory(e, vinsertf128, (uint8_t)i, (uint8_t)i, upper_home(i));
        emit_byte(e, 1);
    }
    done = emit_jump(e);
    emit_patch_here(e, zeros);
    emit_avx_plain(e, vzeroupper);
    emit_patch_here(e, done);
}

/// MXCSR for C code, by way of a register.
static void load_host_mxcsr(struct emit *e, uint8_t by)
{
    emit_move_imm(e, by, (uint64_t)(uintptr_t)&host_mxcsr);
    emit_load_mxcsr(e, x86_at_register(by));
}

/// Room on the stack, or (negative) no longer.
static void take_stack(struct emit *e, int32_t bytes)
{
    emit_alu_imm(e, EMIT_SUB, WIDTH_64, HOST_RSP, bytes);
    e->depth += bytes;
}

static emit_place jump_unless_resident(struct emit *e, uint8_t which)
{
    emit_test_memory_imm(e, FIELD(resident), which);
    return emit_jump_if(e, EMIT_EQUAL);
}

/// What is resident of vector registers, some of it, goes to memory, and MXCSR becomes that of C code. Changes rax.
static void store_vectors(struct emit *e)
{
    emit_place no_avx = jump_unless_resident(e, RESIDENT_AVX), done;
    store_avx(e, CPU);
    done = emit_jump(e);
    emit_patch_here(e, no_avx);
    store_sse(e, CPU);
    emit_patch_here(e, done);
    load_host_mxcsr(e, HOST_RAX);
}

static void set_resident(struct emit *e, enum emit_alu op, int32_t value)
{
    emit_alu_memory_imm(e, op, WIDTH_8, FIELD(resident), value);
}

/// All that is resident to memory; general registers stay. Called from blocks, with an aligned stack.
static void emit_spill(struct emit *e)
{
    emit_place no_sse, no_x87;
    x86_begin_routine(e);
    x86_push_caller_saved(e); // the stack is aligned again
    no_sse = jump_unless_resident(e, RESIDENT_SSE);
    store_vectors(e);
    emit_patch_here(e, no_sse);
    no_x87 = jump_unless_resident(e, RESIDENT_X87);
    take_stack(e, X87_IMAGE_BYTES);
    emit_x87_memory(e, 5, 6, x86_at_register(HOST_RSP)); // FNSAVE, which initializes
    emit_load(e, WIDTH_64, HOST_RDI, FIELD(self));
    emit_move(e, WIDTH_64, HOST_RSI, HOST_RSP);
    call_c(e, (const void *)unpack_x87);
    take_stack(e, -X87_IMAGE_BYTES);
    emit_patch_here(e, no_x87);
    emit_store_imm(e, WIDTH_8, FIELD(resident), 0);
    x86_pop_caller_saved(e);
    emit_return(e);
}

/// Calls the function in rax, with struct cpu in rdi, and returns.
static void keep_vectors(struct emit *e, int32_t resident, void (*store)(struct emit *, uint8_t),
                         void (*load)(struct emit *, uint8_t))
{
    emit_push(e, HOST_RDI);
    store(e, HOST_RDI);
    load_host_mxcsr(e, HOST_RCX);
    emit_alu_memory_imm(e, EMIT_AND, WIDTH_8, from(HOST_RDI, FIELD(resident)), ~resident);
    emit_call_register(e, HOST_RAX);
    emit_load(e, WIDTH_64, HOST_RDI, x86_at_register(HOST_RSP));
    load(e, HOST_RDI);
    emit_alu_memory_imm(e, EMIT_OR, WIDTH_8, from(HOST_RDI, FIELD(resident)), resident);
    emit_lea(e, WIDTH_64, HOST_RSP, (struct emit_memory){.base = HOST_RSP, .index = HOST_NO_INDEX, .displacement = 8});
    emit_return(e);
}

/// A call of the function in rax, with struct cpu in rdi and up to two arguments more, that leaves vector registers in
/// place (and x87 alone). Other routines call it, so rsp does not tell where struct cpu is.
static void emit_keep(struct emit *e)
{
    emit_place no_sse, no_avx;
    emit_test_memory_imm(e, from(HOST_RDI, FIELD(resident)), RESIDENT_SSE);
    no_sse = emit_jump_if(e, EMIT_EQUAL);
    emit_test_memory_imm(e, from(HOST_RDI, FIELD(resident)), RESIDENT_AVX);
    no_avx = emit_jump_if(e, EMIT_EQUAL);
    keep_vectors(e, RESIDENT_SSE | RESIDENT_AVX, store_avx, load_avx);
    emit_patch_here(e, no_avx);
    keep_vectors(e, RESIDENT_SSE, store_sse, load_sse);
    emit_patch_here(e, no_sse);
    emit_jump_register(e, HOST_RAX);
}

#define SKIP_BYTES 2 // of the short jump behind a call of an ensuring routine

/// Begins a routine that makes a part of the state resident, without changing flags or general registers. It returns to
/// the short jump behind its call, or behind that jump when exceptions are unmasked.
static void begin_ensure(struct emit *e, uint8_t which)
{
    emit_place absent;
    x86_begin_routine(e);
    emit_push_flags(e);
    absent = jump_unless_resident(e, which);
    emit_pop_flags(e);
    emit_return(e);
    emit_patch_here(e, absent);
    e->depth += 8; // flags
    emit_push(e, HOST_RAX);
}

/// rax: control word or MXCSR; all bits of `masks` must be set, those of `reserved`, which the host would refuse,
/// clear.
static emit_place check_masks(struct emit *e, uint32_t masks, uint32_t reserved)
{
    emit_alu_imm(e, EMIT_AND, WIDTH_32, HOST_RAX, (int32_t)(masks | reserved));
    emit_alu_imm(e, EMIT_CMP, WIDTH_32, HOST_RAX, (int32_t)masks);
    return emit_jump_if(e, EMIT_NOT_EQUAL);
}

static void end_ensure(struct emit *e, emit_place unmasked)
{
    emit_pop(e, HOST_RAX);
    emit_pop_flags(e);
    emit_return(e);
    emit_patch_here(e, unmasked);
    emit_pop(e, HOST_RAX);
    emit_pop_flags(e);
    emit_alu_memory_imm(e, EMIT_ADD, WIDTH_64, x86_at_register(HOST_RSP), SKIP_BYTES);
    emit_return(e);
}

static void emit_ensure_sse(struct emit *e)
{
    emit_place unmasked;
    begin_ensure(e, RESIDENT_SSE);
    emit_load(e, WIDTH_32, HOST_RAX, FIELD(mxcsr));
    unmasked = check_masks(e, MXCSR_MASKS, ~MXCSR_DEFINED);
    load_sse(e, CPU);
    set_resident(e, EMIT_OR, RESIDENT_SSE);
    end_ensure(e, unmasked);
}

/// Upper halves come to what is resident already, or all does.
static void emit_ensure_avx(struct emit *e)
{
    emit_place unmasked, no_sse, done;
    begin_ensure(e, RESIDENT_AVX);
    no_sse = jump_unless_resident(e, RESIDENT_SSE);
    load_upper(e);
    done = emit_jump(e);
    emit_patch_here(e, no_sse);
    emit_load(e, WIDTH_32, HOST_RAX, FIELD(mxcsr));
    unmasked = check_masks(e, MXCSR_MASKS, ~MXCSR_DEFINED);
    load_avx(e, CPU);
    emit_patch_here(e, done);
    set_resident(e, EMIT_OR, RESIDENT_SSE | RESIDENT_AVX);
    end_ensure(e, unmasked);
}

static void emit_ensure_x87(struct emit *e)
{
    emit_place unmasked, no_sse, was_no_sse, was_no_avx, done;
    begin_ensure(e, RESIDENT_X87); // stack: return address, flags, rax
    emit_load(e, WIDTH_16, HOST_RAX, FIELD(x87.control));
    unmasked = check_masks(e, X87_EXCEPTIONS, 0);
    x86_push_caller_saved(e);
    no_sse = jump_unless_resident(e, RESIDENT_SSE); // the C function may use them
    store_vectors(e);
    emit_patch_here(e, no_sse);
    take_stack(e, X87_IMAGE_BYTES);
    emit_load(e, WIDTH_64, HOST_RDI, FIELD(self));
    emit_move(e, WIDTH_64, HOST_RSI, HOST_RSP);
    call_c(e, (const void *)pack_x87);
    emit_x87_memory(e, 5, 4, x86_at_register(HOST_RSP)); // FRSTOR
    take_stack(e, -X87_IMAGE_BYTES);
    was_no_sse = jump_unless_resident(e, RESIDENT_SSE);
    was_no_avx = jump_unless_resident(e, RESIDENT_AVX);
    load_avx(e, CPU);
    done = emit_jump(e);
    emit_patch_here(e, was_no_avx);
    load_sse(e, CPU);
    emit_patch_here(e, done);
    emit_patch_here(e, was_no_sse);
    set_resident(e, EMIT_OR, RESIDENT_X87);
    x86_pop_caller_saved(e);
    end_ensure(e, unmasked);
}

/// Garbage in what is not resident, so that a missing spill or load shows.
static void emit_poison(struct emit *e)
{
    for (uint8_t i = 0; i < SSE_REGISTERS; i++) // PCMPEQD: all ones
        if (__builtin_cpu_supports("avx2"))
            emit_avx_registers(e, (struct emit_avx_op){1, 1, 0x76, false, true}, i, i, i);
        else
            emit_vector_registers(e, (struct emit_vector_op){.opcode = 0x0f76, .prefix = 0x66}, i, i);
    emit_return(e);
}

void x86_fpu_routines(struct emit *e, struct fpu_routines *routines)
{
    routines->spill = e->at;
    emit_spill(e);
    routines->keep = e->at;
    emit_keep(e);
    routines->ensure_sse = e->at;
    emit_ensure_sse(e);
    routines->ensure_avx = e->at;
    emit_ensure_avx(e);
    routines->ensure_x87 = e->at;
    emit_ensure_x87(e);
    routines->poison = e->at;
    emit_poison(e);
}

void x86_fpu_spill(struct emit *e, const struct fpu_routines *routines)
{
    emit_place none;
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_8, FIELD(resident), 0);
    none = emit_jump_if(e, EMIT_EQUAL);
    emit_patch(e, emit_call(e), routines->spill);
    emit_patch_here(e, none);
}

void x86_fpu_after_call(struct translation *t)
{
    t->resident = 0;
#ifdef DOPPEL_DEBUG_CHECKS
    emit_patch(&t->emit, emit_call(&t->emit), t->fpu->poison);
#endif
}

// ---- making sure, where a block needs it ----------------------------------------------------------------------------
static void ensure(struct translation *t, uint8_t which, const uint8_t *routine)
{
    struct emit *e = &t->emit;
    emit_place resident = NULL;
    if (t->resident & which)
        return;
    if (t->host_flags == 0) {
        emit_test_memory_imm(e, FIELD(resident), which);
        resident = emit_jump_if(e, EMIT_NOT_EQUAL);
    }
    emit_patch(e, emit_call(e), routine);
    emit_byte(e, 0xeb); // over the next jump, as SKIP_BYTES says
    emit_byte(e, 5);
    x86_add_resume(t, emit_jump(e));
    if (resident)
        emit_patch_here(e, resident);
    t->resident |= which;
}

/// C code that may change control words: what is to be resident is asked for anew behind it.
static bool certainly_calls(const struct translation *t, unsigned index)
{
    const struct uop *u = &t->pass->uops[index];
    return (u->op == UOP_CALL && !x86_inlines_call(t, u)) || (u->op == UOP_ROW && !x86_inlines_row(t, index));
}

static bool is_gone_move(const struct translation *t, unsigned index)
{
    return t->pass->uops[index].op == UOP_NOP && t->pass->original[index].op == UOP_MOV;
}

/// Only at a block's start, and right behind C code that may change control words, can it turn out that exceptions are
/// unmasked and the interpreter must go on: there flags and registers are exact. Other calls merely spill. The
/// interpreter cannot go on at a MOV that has gone: what it moves went to the other place at once.
static bool begins_stretch(const struct translation *t)
{
    unsigned index = t->index;
    if (is_gone_move(t, index))
        return false;
    while (index > 0 && is_gone_move(t, index - 1))
        index--;
    return index == 0 || certainly_calls(t, index - 1);
}

void x86_fpu_prepare(struct translation *t, const struct uop *u)
{
    uint8_t need;
    need = x86_simd_needs(t, t->index);
    if (u->op >= UOP_RAISE || (u->op == UOP_CALL && x86_inlines_system(t, u))) // which may load CS
        x86_x87_flush_pointers(t, &t->pointers);
    if (begins_stretch(t))
        for (unsigned i = t->index; i < t->pass->count && !certainly_calls(t, i); i++)
            need |= x86_simd_needs(t, i);
    if (need & RESIDENT_X87)
        ensure(t, RESIDENT_X87, t->fpu->ensure_x87);
    if (need & RESIDENT_AVX) {
        ensure(t, RESIDENT_AVX, t->fpu->ensure_avx);
        t->resident |= RESIDENT_SSE;
    } else if (need & RESIDENT_SSE)
        ensure(t, RESIDENT_SSE, t->fpu->ensure_sse);
}

// ---- FIP, FCS, FOP ------------------------------------------------------------------------------------------------
void x86_x87_note_pointers(struct translation *t, uint64_t operand)
{
    t->pointers = (struct x87_pointers){
        .pending = true, .offset = (uint16_t)X87_OFFSET(operand), .opcode = (uint16_t)X87_OPCODE(operand)};
}

/// Whether FCS and FDS are kept in the block's mode (x87.c's rule).
static bool has_selectors(const struct translation *t)
{
    bool real = !(t->block->mode & MODE_PROTECTED) || (t->block->mode & MODE_VM86);
    return real || !(t->cpu->x87_policy & X87_SELECTORS_ZERO);
}

static void store_selector(struct translation *t, struct emit_memory to, unsigned segment)
{
    if (has_selectors(t)) {
        emit_load(&t->emit, WIDTH_16, S0, FIELD(segment[segment].selector));
        emit_store(&t->emit, WIDTH_16, to, S0);
    } else
        emit_store_imm(&t->emit, WIDTH_16, to, 0);
}

/// FDP and FDS, where the model tracks them without exceptions. Changes S0, no flags.
void x86_x87_store_data(struct translation *t, uint64_t operand, unsigned offset)
{
    uint8_t reg;
    if (t->cpu->x87_policy & X87_DATA_ON_FAULT)
        return;
    reg = registers_read(&t->registers, offset);
    if (reg == NO_REGISTER)
        x86_load_home(&t->emit, reg = S0, offset);
    emit_store(&t->emit, WIDTH_64, FIELD(x87.dp), reg);
    store_selector(t, FIELD(x87.ds), X87_SEGMENT(operand));
}

/// Stores the pointers of the last x87 instruction. Changes S0, no flags.
void x86_x87_flush_pointers(struct translation *t, struct x87_pointers *pointers)
{
    struct emit *e = &t->emit;
    if (!pointers->pending)
        return;
    x86_load_rip(t, S0, pointers->offset);
    if (mode_code_width(t->block->mode) != WIDTH_64)
        emit_extend(e, false, mode_code_width(t->block->mode), S0, S0);
    emit_store(e, WIDTH_64, FIELD(x87.ip), S0);
    store_selector(t, FIELD(x87.cs), SEG_CS);
    if (!(t->cpu->x87_policy & X87_OPCODE_ON_FAULT))
        emit_store_imm(e, WIDTH_16, FIELD(x87.opcode), pointers->opcode);
    pointers->pending = false;
}

// ---- what the host has --------------------------------------------------------------------------------------------
static void add_feature(uint64_t features[2], enum cpu_feature feature, uint32_t word, unsigned bit)
{
    if (word >> bit & 1)
        features[feature / 64] |= UINT64_C(1) << feature % 64;
}

void x86_host_features(uint64_t features[2])
{
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    features[0] = features[1] = 0;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    add_feature(features, FEATURE_FPU, edx, 0);
    add_feature(features, FEATURE_CMOV, edx, 15);
    add_feature(features, FEATURE_MMX, edx, 23);
    add_feature(features, FEATURE_SSE, edx, 25);
    add_feature(features, FEATURE_SSE2, edx, 26);
    add_feature(features, FEATURE_SSE3, ecx, 0);
    add_feature(features, FEATURE_PCLMULQDQ, ecx, 1);
    add_feature(features, FEATURE_SSSE3, ecx, 9);
    add_feature(features, FEATURE_SSE41, ecx, 19);
    add_feature(features, FEATURE_SSE42, ecx, 20);
    add_feature(features, FEATURE_AES, ecx, 25);
    add_feature(features, FEATURE_POPCNT, ecx, 23);
    bool has_upper = __builtin_cpu_supports("avx"); // asks XCR0, too
    if (has_upper) {
        add_feature(features, FEATURE_AVX, ecx, 28);
        add_feature(features, FEATURE_FMA, ecx, 12);
        add_feature(features, FEATURE_F16C, ecx, 29);
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        if (has_upper)
            add_feature(features, FEATURE_AVX2, ebx, 5);
        add_feature(features, FEATURE_SHA, ebx, 29);
        add_feature(features, FEATURE_BMI1, ebx, 3);
        add_feature(features, FEATURE_BMI2, ebx, 8);
        add_feature(features, FEATURE_ADX, ebx, 19);
    }
    if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
        add_feature(features, FEATURE_ABM, ecx, 5);
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_fpu_is_empty;

#endif
