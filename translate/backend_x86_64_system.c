// The x86-64 backend's system instructions: calls of C helpers whose frequent case is a few instructions here. What is
// not that case goes on in the interpreter, which calls the helper. The mode of the code behind them is known when the
// block is translated, because the mode is part of its key.
#ifdef __x86_64__

#include "cpu/helper.h"
#include "cpu/privileged.h"
#include "translate/backend_x86_64.h"

#define RIGHTS_CODE64 (SEGMENT_P | SEGMENT_S | 0xbu | SEGMENT_L | SEGMENT_G)
#define RIGHTS_STACK (SEGMENT_P | SEGMENT_S | 3u | SEGMENT_DB | SEGMENT_G)

/// What waits for interrupts to be allowed is looked at before the next block.
static void poll_if_pending(struct emit *e)
{
    emit_place quiet;
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_32, FIELD(pending), 0);
    quiet = emit_jump_if(e, EMIT_EQUAL);
    emit_store_imm(e, WIDTH_32, FIELD(exit_request), 1);
    emit_patch_here(e, quiet);
}

// ---- flags and bases ----------------------------------------------------------------------------------------------
static bool does_sti(const struct translation *t, const struct uop *u)
{
    return u->imm && (t->block->mode & MODE_IOPL) && !t->counting && !(t->block->mode & MODE_VM86);
}

/// The shadow needs no exit: whoever interrupts looks at it. What waits is the interpreter's, for jumps behind may not
/// poll, and a CLI may come soon.
static void emit_sti(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_32, FIELD(pending), 0);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_alu_memory_imm(e, EMIT_OR, WIDTH_64, x86_home(VAR_FLAGS), (int32_t)FLAG_IF);
    emit_store_imm(e, WIDTH_8, FIELD(shadow), SHADOW_STI);
}

static bool is_supervisor(const struct translation *t, const struct uop *u)
{
    return (t->block->mode & MODE_CPL_MASK) == 0 && (t->block->mode & MODE_PROTECTED) && !(t->block->mode & MODE_VM86);
}

// Mode and jump epoch are read as one, so they are written as one: a load waits for two stores.
_Static_assert(offsetof(struct cpu, jump_epoch) == offsetof(struct cpu, mode) + 4, "one access");

/// STAC, CLAC.
static void emit_set_ac(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    if (u->imm)
        emit_alu_memory_imm(e, EMIT_OR, WIDTH_64, x86_home(VAR_FLAGS), (int32_t)FLAG_AC);
    else
        emit_alu_memory_imm(e, EMIT_AND, WIDTH_64, x86_home(VAR_FLAGS), (int32_t)~FLAG_AC);
    emit_load(e, WIDTH_64, S0, FIELD(mode));
    emit_alu_imm(e, u->imm ? EMIT_OR : EMIT_AND, WIDTH_64, S0, (int32_t)(u->imm ? MODE_AC : ~MODE_AC));
    emit_store(e, WIDTH_64, FIELD(mode), S0);
    emit_store_imm(e, WIDTH_32, FIELD(data_mode), u->imm ? MMU_KERNEL_AC : MMU_KERNEL);
}

static bool always(const struct translation *t, const struct uop *u)
{
    return true;
}

static void emit_swapgs(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    x86_load_home(e, S0, VAR_GS_BASE);
    emit_load(e, WIDTH_64, S1, FIELD(kernel_gs_base));
    emit_store(e, WIDTH_64, FIELD(kernel_gs_base), S0);
    x86_store_home(e, VAR_GS_BASE, S1);
    t->made_flags = t->host_flags;
}

/// S1 = `reg` as if its low `bits` were all of it, compared with it.
static void compare_canonical(struct emit *e, uint8_t reg, unsigned bits)
{
    emit_move(e, WIDTH_64, S1, reg);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, S1, 64 - bits);
    emit_shift_imm(e, EMIT_SAR, WIDTH_64, S1, 64 - bits);
    emit_alu(e, EMIT_CMP, WIDTH_64, S1, reg);
}

static void emit_check_fsgsbase(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    emit_load(e, WIDTH_64, S0, FIELD(cr4));
    emit_bit_imm(e, EMIT_BT, WIDTH_64, S0, (unsigned)__builtin_ctzll(CR4_FSGSBASE));
    x86_resume_if(t, 3); // not below
    if (!u->imm)
        return;
    compare_canonical(e, x86_value_of(t, u->a, S0), model_has(t->cpu->model, FEATURE_LA57) ? 57 : 48);
    x86_resume_if(t, EMIT_NOT_EQUAL);
}

// ---- registers that are read --------------------------------------------------------------------------------------
static bool does_get_selector(const struct translation *t, const struct uop *u)
{
    return (uint64_t)u->imm < SEG_COUNT;
}

static void emit_get_selector(struct translation *t, const struct uop *u)
{
    emit_load(&t->emit, WIDTH_16, S0, FIELD(segment[u->imm].selector));
    x86_write_var(t, u->dst, WIDTH_64, S0);
    t->made_flags = t->host_flags;
}

static bool does_get_control(const struct translation *t, const struct uop *u)
{
    return u->imm != 8; // the local APIC's
}

static void emit_get_control(struct translation *t, const struct uop *u)
{
    static const size_t place[] = {offsetof(struct cpu, cr0), 0, offsetof(struct cpu, cr2), offsetof(struct cpu, cr3),
                                   offsetof(struct cpu, cr4)};
    emit_load(&t->emit, WIDTH_64, S0, x86_memory_at(place[u->imm]));
    x86_write_var(t, u->dst, WIDTH_64, S0);
    t->made_flags = t->host_flags;
}

/// Only where time is not counted in instructions.
static bool does_rdtsc(const struct translation *t, const struct uop *u)
{
    return !t->counting;
}

/// RDTSC, RDTSCP: the host's, as the line says that C code draws now and then (base/tick_line.h). They write rax and
/// rdx whatever happens, so those may hold anything when the interpreter does it.
static void emit_rdtsc(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    registers_settle(&t->registers, &x86_file, e);
    if (t->block->mode & MODE_CPL_MASK) {
        emit_test_memory_imm(e, FIELD(cr4), CR4_TSD);
        x86_resume_if(t, EMIT_NOT_EQUAL);
    }
    emit_byte(e, 0x0f); // RDTSC
    emit_byte(e, 0x31);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, HOST_RDX, 32);
    emit_alu(e, EMIT_OR, WIDTH_64, HOST_RAX, HOST_RDX);
    emit_alu_load(e, EMIT_SUB, WIDTH_64, HOST_RAX, FIELD(tsc.line.from));
    emit_alu_load(e, EMIT_CMP, WIDTH_64, HOST_RAX, FIELD(tsc.line.span));
    x86_resume_if(t, 3); // not below
    emit_load(e, WIDTH_64, S0, FIELD(tsc.line.multiplier));
    emit_multiply_wide(e, false, WIDTH_64, S0);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, HOST_RAX, 32);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, HOST_RDX, 32);
    emit_alu(e, EMIT_OR, WIDTH_64, HOST_RDX, HOST_RAX);
    emit_alu_load(e, EMIT_ADD, WIDTH_64, HOST_RDX, FIELD(tsc.line.base));
    emit_alu_load(e, EMIT_ADD, WIDTH_64, HOST_RDX, FIELD(tsc_adjust));
    emit_move(e, WIDTH_32, HOST_RAX, HOST_RDX);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, HOST_RDX, 32);
    if (u->imm)
        emit_load(e, WIDTH_32, HOST_RCX, FIELD(tsc_aux));
}

// ---- system calls -------------------------------------------------------------------------------------------------
/// 64-bit code without what makes SYSCALL and SYSRET look closer.
static bool is_plain_64(const struct translation *t)
{
    return (t->block->mode & (MODE_CODE_MASK | MODE_PROTECTED | MODE_LONG | MODE_AC | MODE_TF)) ==
           (MODE_CODE64 | MODE_PROTECTED | MODE_LONG);
}

static bool does_syscall(const struct translation *t, const struct uop *u)
{
    return is_plain_64(t);
}

static bool does_sysret(const struct translation *t, const struct uop *u)
{
    return is_plain_64(t) && (t->block->mode & MODE_CPL_MASK) == 0 && u->imm == 8;
}

/// A flat segment of `cpl`, whose selector is in S0.
static void set_flat(struct emit *e, unsigned segment, uint32_t rights, unsigned cpl)
{
    emit_store(e, WIDTH_16, FIELD(segment[segment].selector), S0);
    emit_store_imm(e, WIDTH_32, FIELD(segment[segment].rights), (int32_t)(rights | cpl << 5));
    emit_store_imm(e, WIDTH_32, FIELD(segment[segment].limit), -1);
    emit_store_imm(e, WIDTH_64, x86_home(VAR_ES_BASE + segment), 0);
}

/// What cpu_update_mode makes of 64-bit code of another ring, with TF and AC clear and, at ring 3, IOPL below 3.
static void set_ring(struct translation *t, unsigned cpl)
{
    struct emit *e = &t->emit;
    uint32_t mode =
        (t->block->mode & ~(MODE_CPL_MASK | MODE_IOPL | MODE_ALIGN | MODE_UNSHARED)) | cpl | (cpl == 0 ? MODE_IOPL : 0);
    emit_store_imm(e, WIDTH_8, FIELD(cpl), (int32_t)cpl);
    emit_load(e, WIDTH_32, S0, FIELD(mmu.fetch_epoch[cpl == 3]));
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, S0, 32);
    emit_alu_imm(e, EMIT_OR, WIDTH_64, S0, (int32_t)mode);
    emit_store(e, WIDTH_64, FIELD(mode), S0);
    emit_store_imm(e, WIDTH_32, FIELD(data_mode), cpl == 3 ? MMU_USER : MMU_KERNEL);
    emit_store_imm(e, WIDTH_32, FIELD(fetch_mode), cpl == 3 ? MMU_USER : MMU_KERNEL);
}

/// The six flags are those in `reg`, which may have others; changes it.
static void set_literal_flags(struct translation *t, uint8_t reg)
{
    emit_alu_imm(&t->emit, EMIT_AND, WIDTH_32, reg, (int32_t)FLAGS_ARITHMETIC);
    x86_store_home(&t->emit, VAR_CC_EXTRA, reg);
    x86_literal_recipe(t);
}

/// a = next RIP, b = the six flags (SDM vol. 2 "SYSCALL").
static void emit_syscall(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    emit_test_memory_imm(e, FIELD(efer), EFER_SCE);
    x86_resume_if(t, EMIT_EQUAL);
    registers_settle(&t->registers, &x86_file, e);
    x86_load_home(e, HOST_RCX, u->a);
    x86_load_home(e, HOST_R11, u->b);
    // S1: what is left of the flags.
    emit_load(e, WIDTH_64, S1, FIELD(sfmask));
    emit_unary(e, EMIT_NOT, WIDTH_64, S1);
    emit_move(e, WIDTH_64, S0, S1);
    emit_alu(e, EMIT_AND, WIDTH_64, S0, HOST_R11);
    set_literal_flags(t, S0);
    x86_load_home(e, S0, VAR_FLAGS);
    emit_alu_imm(e, EMIT_AND, WIDTH_64, S0, (int32_t)~FLAG_RF);
    emit_alu(e, EMIT_OR, WIDTH_64, HOST_R11, S0);
    emit_alu(e, EMIT_AND, WIDTH_64, S0, S1);
    emit_alu_imm(e, EMIT_OR, WIDTH_64, S0, 2);
    x86_store_home(e, VAR_FLAGS, S0);
    emit_load(e, WIDTH_16, S0, x86_memory_at(offsetof(struct cpu, star) + 4));
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 0xfffc);
    set_flat(e, SEG_CS, RIGHTS_CODE64, 0);
    emit_alu_imm(e, EMIT_ADD, WIDTH_32, S0, 8);
    set_flat(e, SEG_SS, RIGHTS_STACK, 0);
    set_ring(t, 0);
    emit_load(e, WIDTH_64, S0, FIELD(lstar));
    x86_write_var(t, u->dst, WIDTH_64, S0);
    x86_store_home(e, VAR_R11, HOST_R11);
}

/// To 64-bit code (SDM vol. 2 "SYSRET"). Flags that are rarely set in user code, and RCX that may not be canonical, are
/// left to the interpreter.
static void emit_sysret(struct translation *t, const struct uop *u)
{
    static const uint32_t rare = FLAG_TF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_VIF | FLAG_VIP;
    static const uint32_t kept = 0x3c7fd7 & ~(uint32_t)FLAGS_ARITHMETIC;
    struct emit *e = &t->emit;
    registers_settle(&t->registers, &x86_file, e); // rcx and r11 are not lent any more
    emit_test_memory_imm(e, FIELD(efer), EFER_SCE);
    x86_resume_if(t, EMIT_EQUAL);
    x86_load_home(e, HOST_R11, VAR_R11);
    emit_test_imm(e, WIDTH_32, HOST_R11, (int32_t)rare);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    compare_canonical(e, HOST_RCX, 48);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_move(e, WIDTH_32, S0, HOST_R11);
    set_literal_flags(t, S0);
    emit_move(e, WIDTH_32, S0, HOST_R11);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)kept);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0, 2);
    x86_store_home(e, VAR_FLAGS, S0);
    emit_load(e, WIDTH_16, S0, x86_memory_at(offsetof(struct cpu, star) + 6));
    emit_alu_imm(e, EMIT_ADD, WIDTH_32, S0, 8);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0, 3);
    set_flat(e, SEG_SS, RIGHTS_STACK, 3);
    emit_load(e, WIDTH_16, S0, x86_memory_at(offsetof(struct cpu, star) + 6));
    emit_alu_imm(e, EMIT_ADD, WIDTH_32, S0, 16);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0, 3);
    set_flat(e, SEG_CS, RIGHTS_CODE64, 3);
    set_ring(t, 3);
    poll_if_pending(e);
    x86_write_var(t, u->dst, WIDTH_64, HOST_RCX);
}

// ---- IRET to user code ----------------------------------------------------------------------------------------------
// What 64-bit kernels put into their descriptor tables for user code and its stack: flat, present, accessed, DPL 3.
#define USER_CODE64 UINT64_C(0x00affb000000ffff)
#define USER_STACK UINT64_C(0x00cff3000000ffff)
#define FRAME_SLOT FIELD(vtemp[0].u64[0]) // the frame's host address; temporary vectors are dead between instructions

static bool does_iret(const struct translation *t, const struct uop *u)
{
    return is_plain_64(t) && (t->block->mode & MODE_CPL_MASK) == 0 && u->imm == 8;
}

/// T0, a linear address, becomes the host address of `size` bytes that the supervisor reads there, as the TLB has it.
static void find_supervisor_data(struct translation *t, unsigned size)
{
    struct emit *e = &t->emit;
    struct emit_memory last = x86_at_register(T0);
    last.displacement = (int32_t)size - 1;
    emit_lea(e, WIDTH_64, S1, last);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S1, PAGE_SHIFT);
    x86_tlb_slot(e, x86_host_has(t, FEATURE_BMI1), T0);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S1, x86_tlb_tag(MMU_KERNEL, false, S0));
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_alu_load(e, EMIT_ADD, WIDTH_64, T0, x86_tlb_word(MMU_KERNEL, TLB_ADDEND, S0));
}

static struct emit_memory in_frame(int32_t offset)
{
    struct emit_memory m = x86_at_register(T0);
    m.displacement = offset;
    return m;
}

/// Goes on if the selector at `offset` of the frame names `descriptor` in the GDT with RPL 3.
static void check_descriptor(struct translation *t, int32_t offset, uint64_t descriptor)
{
    struct emit *e = &t->emit;
    emit_load(e, WIDTH_64, T0, FRAME_SLOT);
    emit_load(e, WIDTH_16, T0, in_frame(offset));
    emit_move(e, WIDTH_32, S0, T0);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, 7);
    emit_alu_imm(e, EMIT_CMP, WIDTH_32, S0, 3); // and not of the LDT
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_alu_imm(e, EMIT_OR, WIDTH_32, T0, 7);
    emit_load(e, WIDTH_16, S0, FIELD(gdt.limit));
    emit_alu(e, EMIT_CMP, WIDTH_32, S0, T0);
    x86_resume_if(t, 2); // below
    emit_alu_imm(e, EMIT_XOR, WIDTH_32, T0, 7);
    emit_alu_load(e, EMIT_ADD, WIDTH_64, T0, FIELD(gdt.base));
    find_supervisor_data(t, 8);
    emit_move_imm(e, S0, descriptor);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, S0, in_frame(0));
    x86_resume_if(t, EMIT_NOT_EQUAL);
}

/// All that could make it more than a change of RIP, RSP, CS, SS and the common flags.
static void check_plain_return(struct translation *t)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    static const uint32_t rare = FLAG_TF | FLAG_IOPL | FLAG_NT | FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP;
    struct emit *e = &t->emit;
    x86_load_home(e, S0, VAR_FLAGS);
    emit_test_imm(e, WIDTH_32, S0, (int32_t)FLAG_NT);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_8, FIELD(nmi_blocked), 0);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_32, FIELD(pending), 0);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_alu_memory_imm(e, EMIT_CMP, WIDTH_8, FIELD(code_breakpoints), 0);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    for (unsigned i = 0; i < ARRAY_SIZE(data); i++) { // no segment of an inner ring to drop
        emit_load(e, WIDTH_32, S0, FIELD(segment[data[i]].rights));
        emit_test_imm(e, WIDTH_32, S0, SEGMENT_UNUSABLE);
        x86_resume_if(t, EMIT_EQUAL);
    }
    emit_load(e, WIDTH_64, T0, FRAME_SLOT);
    emit_load(e, WIDTH_64, S0, in_frame(16));
    // Where nothing else tells, RF goes as in cpu_set_rflags.
    emit_test_imm(e, WIDTH_32, S0, (int32_t)(rare | (t->counting ? FLAG_RF : 0)));
    x86_resume_if(t, EMIT_NOT_EQUAL);
    emit_load(e, WIDTH_64, S0, in_frame(0));
    compare_canonical(e, S0, 48);
    x86_resume_if(t, EMIT_NOT_EQUAL);
}

/// From ring 0 to 64-bit code of ring 3 (SDM vol. 2 "IRET"). The descriptors are read and compared with the only ones
/// that are done here, so that what they load into CS and SS is known.
static void emit_iret(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    registers_settle(&t->registers, &x86_file, e);
    emit_move(e, WIDTH_64, T0, x86_file.pin[VAR_RSP]);
    find_supervisor_data(t, 40);
    emit_store(e, WIDTH_64, FRAME_SLOT, T0);
    check_descriptor(t, 8, USER_CODE64);
    check_descriptor(t, 32, USER_STACK);
    check_plain_return(t); // T0 is the frame again
    emit_load(e, WIDTH_64, S0, in_frame(16));
    emit_move(e, WIDTH_32, S1, S0);
    set_literal_flags(t, S1);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, (int32_t)(FLAG_IF | FLAG_DF | FLAG_ID));
    emit_alu_imm(e, EMIT_OR, WIDTH_32, S0, 2);
    x86_store_home(e, VAR_FLAGS, S0);
    emit_load(e, WIDTH_16, S0, in_frame(8));
    set_flat(e, SEG_CS, RIGHTS_CODE64, 3);
    emit_load(e, WIDTH_16, S0, in_frame(32));
    set_flat(e, SEG_SS, RIGHTS_STACK, 3);
    set_ring(t, 3);
    emit_load(e, WIDTH_64, x86_file.pin[VAR_RSP], in_frame(24));
    emit_load(e, WIDTH_64, S0, in_frame(0));
    x86_write_var(t, u->dst, WIDTH_64, S0);
}

// ---- the table ----------------------------------------------------------------------------------------------------
// ---- INVLPG -------------------------------------------------------------------------------------------------------
/// The interpreter goes on if code of a privilege may have been fetched from the page at T0, in a mmu's filter of them.
static void resume_if_fetched(struct translation *t, bool user)
{
    struct emit *e = &t->emit;
    struct emit_memory words = FIELD(mmu.fetched[user]);
    emit_move(e, WIDTH_64, S0, T0);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S0, PAGE_SHIFT);
    emit_shift_imm(e, EMIT_SHL, WIDTH_64, S0, 6);
    emit_alu_imm(e, EMIT_OR, WIDTH_64, S0, PAGE_SHIFT);
    emit_move_imm(e, S1, MMU_FETCHED_FACTOR);
    emit_multiply(e, WIDTH_64, S0, S1);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, S0, MMU_FETCHED_SHIFT);
    emit_alu_imm(e, EMIT_AND, WIDTH_32, S0, MMU_FETCHED_BITS - 1);
    emit_move(e, WIDTH_32, S1, S0);
    emit_shift_imm(e, EMIT_SHR, WIDTH_32, S1, 6);
    words.index = S1;
    words.scale = 3;
    emit_load(e, WIDTH_64, S1, words);
    emit_bit(e, EMIT_BT, WIDTH_64, S1, S0);
    x86_resume_if(t, 2); // below
}

/// ... if the page at T0 may be a piece of a large one.
static void resume_if_large(struct translation *t)
{
    struct emit *e = &t->emit;
    struct emit_memory first = FIELD(mmu.large[0].first), last = FIELD(mmu.large[0].last);
    const uint8_t *next;
    emit_place none, below;
    first.index = last.index = S0;
    emit_load(e, WIDTH_32, S0, FIELD(mmu.large_count));
    emit_multiply_imm(e, WIDTH_64, S0, S0, sizeof(struct mmu_large_range));
    next = e->at;
    emit_test(e, WIDTH_64, S0, S0);
    none = emit_jump_if(e, EMIT_EQUAL);
    emit_alu_imm(e, EMIT_SUB, WIDTH_64, S0, sizeof(struct mmu_large_range));
    emit_alu_load(e, EMIT_CMP, WIDTH_64, T0, first);
    below = emit_jump_if(e, 2);
    emit_alu_load(e, EMIT_CMP, WIDTH_64, T0, last);
    x86_resume_if(t, 6); // below or equal
    emit_patch(e, below, next);
    emit_jump_to(e, next);
    emit_patch_here(e, none);
}

/// Drops the TLB entry at `tag` if it is of page number T0.
static void drop_if_page(struct emit *e, struct emit_memory tag)
{
    emit_place other;
    emit_alu_load(e, EMIT_CMP, WIDTH_64, T0, tag);
    other = emit_jump_if_short(e, EMIT_NOT_EQUAL);
    emit_store_imm(e, WIDTH_64, tag, -1);
    emit_patch_short(e, other);
}
_Static_assert(TLB_INVALID == UINT64_MAX, "what is stored there");

/// Of a small page that no code was fetched from (mmu_flush_page). The interpreter may begin anew at any place.
static void emit_invlpg(struct translation *t, const struct uop *u)
{
    struct emit *e = &t->emit;
    registers_settle(&t->registers, &x86_file, e);
    x86_copy(t, WIDTH_64, T0, x86_value_of(t, u->a, S0));
    compare_canonical(e, T0, 48);
    x86_resume_if(t, EMIT_NOT_EQUAL);
    resume_if_fetched(t, false);
    resume_if_fetched(t, true);
    resume_if_large(t);
    emit_load(e, WIDTH_32, S0, FIELD(mmu.table_generation));
    emit_increment(e, false, WIDTH_32, S0);
    emit_alu_imm(e, EMIT_CMP, WIDTH_32, S0, MMU_TABLE_GENERATIONS);
    x86_resume_if(t, 3); // not below: the generations begin anew
    emit_store(e, WIDTH_32, FIELD(mmu.table_generation), S0);
    emit_alu_memory_imm(e, EMIT_ADD, WIDTH_64, FIELD(mmu.flush_count), 1);
    x86_tlb_slot(e, x86_host_has(t, FEATURE_BMI1), T0);
    emit_shift_imm(e, EMIT_SHR, WIDTH_64, T0, PAGE_SHIFT);
    for (unsigned mode = 0; mode < MMU_MODES; mode++) {
        drop_if_page(e, x86_tlb_word((enum mmu_mode)mode, TLB_READ, S0));
        drop_if_page(e, x86_tlb_word((enum mmu_mode)mode, TLB_WRITE, S0));
        drop_if_page(e, x86_tlb_word((enum mmu_mode)mode, TLB_EXECUTE, S0));
    }
}

static const struct system_call {
    uop_helper *helper;
    bool (*does)(const struct translation *t, const struct uop *u); // whether it is done here
    void (*emit)(struct translation *t, const struct uop *u);
    bool stays; // never leaves for the interpreter
} system_calls[] = {
    {helper_swapgs, always, emit_swapgs, true},
    {helper_set_interrupts, does_sti, emit_sti, false},
    {helper_set_ac, is_supervisor, emit_set_ac, true},
    {helper_get_selector, does_get_selector, emit_get_selector, true},
    {helper_get_control, does_get_control, emit_get_control, true},
    {helper_rdtsc, does_rdtsc, emit_rdtsc, false},
    {helper_check_fsgsbase, always, emit_check_fsgsbase, false},
    {helper_syscall, does_syscall, emit_syscall, false},
    {helper_sysret, does_sysret, emit_sysret, false},
    {helper_iret, does_iret, emit_iret, false},
    {helper_invlpg, is_supervisor, emit_invlpg, false},
    {helper_string, x86_does_string, x86_emit_string, false},
};

static const struct system_call *find(const struct translation *t, const struct uop *u)
{
    uop_helper *function = uop_helpers[u->param].function;
    for (unsigned i = 0; i < ARRAY_SIZE(system_calls); i++) {
        if (system_calls[i].helper == function)
            return system_calls[i].does(t, u) ? &system_calls[i] : NULL;
    }
    return NULL;
}

bool x86_inlines_system(const struct translation *t, const struct uop *u)
{
    return find(t, u) != NULL;
}

bool x86_system_stays(const struct translation *t, const struct uop *u)
{
    const struct system_call *call = find(t, u);
    return call && call->stays;
}

bool x86_emit_system(struct translation *t, const struct uop *u)
{
    const struct system_call *call = find(t, u);
    if (!call)
        return false;
    call->emit(t, u);
    t->stayed = true;
    return true;
}

#else

// Nothing to define on other hosts; ISO C wants a declaration.
typedef int backend_x86_64_system_is_empty;

#endif
