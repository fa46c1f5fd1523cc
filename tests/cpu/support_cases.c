// See support_cases.h.
#include "support_cases.h"

#include <string.h>

static uint64_t pick_value(uint64_t *seed)
{
    static const uint64_t specials[] = {0,
                                        1,
                                        2,
                                        0x0f,
                                        0x10,
                                        0x7f,
                                        0x80,
                                        0xff,
                                        0x100,
                                        0x7fff,
                                        0x8000,
                                        0xffff,
                                        0x10000,
                                        0x7fffffff,
                                        0x80000000,
                                        0xffffffff,
                                        UINT64_C(0x100000000),
                                        INT64_MAX,
                                        UINT64_MAX,
                                        UINT64_C(1) << 63,
                                        UINT64_C(0xffffffff80000000),
                                        UINT64_MAX - 1};
    static const uint8_t counts[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65}; // of shifts, by width
    uint64_t random = support_random(seed);
    switch (random & 7) {
    case 0:
    case 1:
        return specials[(random >> 8) % ARRAY_SIZE(specials)];
    case 2:
        return counts[(random >> 8) % ARRAY_SIZE(counts)] | (random >> 32 & 1 ? random >> 40 << 8 : 0);
    case 3:
        return (UINT64_C(1) << (random >> 8 & 63)) - (random >> 16 & 1);
    case 4:
        return random >> 8 & 0x3f;
    default:
        return support_random(seed);
    }
}

static bool is(const struct insn *insn, lift_function *lift)
{
    return insn->row->lift == lift;
}

static bool is_in(const struct row *row, const struct row *rows, unsigned count)
{
    return (uintptr_t)row >= (uintptr_t)rows && (uintptr_t)row < (uintptr_t)(rows + count);
}

bool cases_row_is_user(const struct row *row, bool code64)
{
    static lift_function *const system[] = {lift_mov_from_segment,
                                            lift_mov_to_segment,
                                            lift_push_segment,
                                            lift_pop_segment,
                                            lift_load_far_pointer,
                                            lift_query_descriptor,
                                            lift_arpl,
                                            lift_far_direct,
                                            lift_far_indirect,
                                            lift_far_return,
                                            lift_iret,
                                            lift_into,
                                            lift_bound,
                                            lift_pushf,
                                            lift_popf,
                                            lift_cli,
                                            lift_sti,
                                            lift_in,
                                            lift_out,
                                            lift_string_io,
                                            lift_cache_line,
                                            lift_fsgsbase};
    if ((row->attributes & (code64 ? ROW_NO_64 : ROW_ONLY_64)) || (!code64 && strstr(row->encoding, "REX.W ")))
        return false;
    if (is_in(row, rows_integer, rows_integer_count) || is_in(row, rows_bmi, rows_bmi_count))
        return true;
    if (!is_in(row, rows_system, rows_system_count))
        return false;
    if ((row->lift == lift_pop_segment || row->lift == lift_load_far_pointer) && row->argument == SEG_FS)
        return false;
    if (row->attributes & ROW_CPL0) // #GP(0); MONITOR and MWAIT may be #UD
        return row->feature != FEATURE_MONITOR;
    for (unsigned i = 0; i < ARRAY_SIZE(system); i++)
        if (row->lift == system[i])
            return true;
    return false;
}

bool cases_has_memory(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->operand_count; i++)
        if (insn->operand[i].kind == OPERAND_MEMORY || insn->operand[i].kind == OPERAND_OFFSET)
            return true;
    return false;
}

bool cases_touches_memory(const struct insn *insn)
{
    static lift_function *const implicit[] = {
        lift_push_operand, lift_pop_operand, lift_pusha,      lift_popa,       lift_enter,      lift_leave,
        lift_call_near,    lift_ret_near,    lift_string,     lift_xlat_table, lift_pushf,      lift_popf,
        lift_push_segment, lift_pop_segment, lift_far_return, lift_iret,       lift_far_direct, lift_far_indirect};
    for (unsigned i = 0; i < ARRAY_SIZE(implicit); i++)
        if (is(insn, implicit[i]))
            return true;
    return cases_has_memory(insn) && !is(insn, lift_nop) && !is(insn, lift_lea);
}

static bool is_branch(const struct row *row)
{
    static lift_function *const branches[] = {lift_jcc,          lift_jmp,        lift_call_near,
                                              lift_ret_near,     lift_loop,       lift_far_direct,
                                              lift_far_indirect, lift_far_return, lift_iret};
    for (unsigned i = 0; i < ARRAY_SIZE(branches); i++)
        if (row->lift == branches[i])
            return true;
    return false;
}

static uint64_t target(const struct cases *cases)
{
    return cases->code64 ? USER_TARGET64 : USER_TARGET32;
}

static uint64_t segment_base(const struct cases *cases, const struct insn *insn)
{
    return insn->segment == SEG_GS ? USER_DATA : insn->segment == SEG_FS && cases->code64 ? cases->guest->fs_base : 0;
}

// ---- Instructions ---------------------------------------------------------------------------------------------------

static unsigned draw_prefixes(struct cases *cases, const struct row_form *form, uint8_t prefixes[6])
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x64, 0x65};
    uint64_t random = support_random(&cases->seed);
    const struct row *row = form->row;
    unsigned count = 0;
    // F2 and F3 are reserved with LOOPcc, where processors take them for a REP's condition.
    bool free_prefix = !(form->mask & KEY_PREFIX) && row->lift != lift_loop;
    if ((row->attributes & ROW_LOCKABLE) && (random & 7) == 0)
        prefixes[count++] = 0xf0;
    if ((row->attributes & ROW_REP) ? random >> 3 & 1 : free_prefix && (random >> 3 & 31) == 1)
        prefixes[count++] = random >> 10 & 1 ? 0xf3 : 0xf2;
    // Near branches with 66: see ROW_FORCE_64. In 32-bit code the target would be below 64 KiB.
    if ((random >> 11 & 3) == 0 && !is_branch(row) && free_prefix)
        prefixes[count++] = 0x66;
    bool address = (random >> 13 & 7) == 0;
    if (address)
        prefixes[count++] = 0x67;
    if (address && !cases->code64 && (random >> 16 & 7)) // 16-bit addresses: GS has the data
        prefixes[count++] = 0x65;
    else if ((random >> 16 & 7) == 0)
        prefixes[count++] = segments[random >> 19 & 7];
    return count;
}

static bool decode_bytes(struct cases *cases, const uint8_t *bytes, struct insn *insn)
{
    return decode(cases->index, &cases->guest->model, user_mode(cases->code64), bytes, 15, insn) == DECODE_OK;
}

/// Displacements become small, or lead to the data where they are the whole address.
static void aim_displacement(struct cases *cases, uint8_t *at, const struct insn *insn)
{
    uint64_t random = support_random(&cases->seed);
    unsigned mod = insn->modrm >> 6;
    uint64_t whole =
        (cases->aim ? cases->aim : USER_DATA + USER_DATA_SIZE / 2 + (random & 0xfff)) - segment_base(cases, insn);
    uint32_t small = (uint32_t)((random >> 32 & 0xff) - 0x80);
    if (insn->address_bytes == 2) {
        if (insn->base < 0)
            store_le16(at + 1, (uint16_t)whole);
        else if (mod == 2)
            store_le16(at + 1, (uint16_t)small);
        return;
    }
    at += (insn->modrm & 7) == 4 ? 2 : 1;
    if (insn->base == -2)
        store_le32(at, (uint32_t)(whole - (USER_INSN + insn->length)));
    else if (insn->base == -1)
        store_le32(at, (uint32_t)whole);
    else if (mod == 2)
        store_le32(at, small);
}

static void aim_offset(struct cases *cases, uint8_t *at, const struct insn *insn)
{
    uint64_t random = support_random(&cases->seed);
    uint64_t whole =
        (cases->aim ? cases->aim : USER_DATA + USER_DATA_SIZE / 2 + (random & 0xfff)) - segment_base(cases, insn);
    if ((random >> 32 & 15) == 0)
        return; // anywhere
    for (unsigned i = 0; i < insn->address_bytes; i++)
        at[i] = (uint8_t)(whole >> 8 * i);
}

static uint16_t pick_selector(struct cases *cases, const struct insn *insn)
{
    static const uint16_t selectors[] = {0,    1,    2,    3,    USER_DS, 0x28, 0x2a, USER_GS, 0x06,
                                         0x0f, 0x3b, 0x43, 0x2b, 0x07,    0x23, 0x20, 0x33,    0x30};
    uint64_t random = support_random(&cases->seed);
    bool stack = ((is(insn, lift_pop_segment) || is(insn, lift_load_far_pointer)) && insn->row->argument == SEG_SS) ||
                 (is(insn, lift_mov_to_segment) && insn->operand[0].reg == SEG_SS);
    return stack && random >> 62 ? USER_DS : selectors[random % ARRAY_SIZE(selectors)];
}

/// A code segment of this mode, or none at all.
static uint16_t pick_code_selector(struct cases *cases)
{
    static const uint16_t bad[] = {0, 1, 3, 0x28, 0x2b, 0x07, 0x0f, 0x3b, 0x43};
    uint64_t random = support_random(&cases->seed);
    return (random & 3) == 0 ? bad[(random >> 8) % ARRAY_SIZE(bad)] : cases->code64 ? USER_CS64 : USER_CS32;
}

/// What the instruction must be so that it can run here; false: it cannot.
static bool adjust(struct cases *cases, uint8_t *bytes, uint8_t *at, const struct insn *insn)
{
    const struct operand *first = &insn->operand[0];
    uint64_t random = support_random(&cases->seed);
    if (is(insn, lift_enter)) { // a small frame, few levels
        bytes[insn->length - 2] &= 3;
        bytes[insn->length - 1] &= (random & 3) ? 0x23 : 0xff;
    }
    if (insn->operand_count && first->kind == OPERAND_RELATIVE) {
        memset(at, 0, 4);
        at[0] = USER_BRANCH_DISTANCE;
    }
    if (is(insn, lift_far_direct)) {
        store_le32(at, (uint32_t)target(cases));
        store_le16(at + 4, pick_code_selector(cases));
    }
    if (!strcmp(insn->row->encoding, "0F 0D /r") && insn->modrm >= 0xc0)
        return false; // a NOP for Intel (and Zydis), #UD for AMD
    if (is_branch(insn->row) && insn->operand_count && first->kind == OPERAND_GPR && first->reg == VAR_RSP)
        return false; // the target would be the stack
    if (is(insn, lift_bit_test) && insn->segment == SEG_FS && insn->operand[1].kind == OPERAND_GPR)
        return false; // some processors want the offset without the base to be canonical
    if (is(insn, lift_mov_extend) && insn->operand[1].bytes == 2 && insn->row->attributes & ROW_ONLY_64 &&
        insn->operand[1].kind == OPERAND_MEMORY)
        return false; // MOVSXD with 66 reads two bytes in the manual, four bytes on some processors
    if (is(insn, lift_fsgsbase) && insn->row->argument == (SEG_FS | 1 << 8) && !(insn->rex & 8))
        return false; // only what FS has already can be written
    if (is(insn, lift_mov_to_segment) && first->reg == SEG_FS)
        return false;
    if (is(insn, lift_far_indirect) && (insn->rex & 8))
        return false; // m16:64 is Intel's alone
    if (is(insn, lift_load_far_pointer) && (insn->rex & 8))
        return false; // likewise
    return true;
}

bool cases_make_instruction(struct cases *cases, const struct row_form *form, uint8_t bytes[32], struct insn *insn)
{
    uint8_t prefixes[6];
    unsigned count = draw_prefixes(cases, form, prefixes);
    uint64_t random = support_random(&cases->seed);
    uint8_t rex = cases->code64 && random >> 10 & 1 ? (uint8_t)(0x40 | (random >> 11 & 15)) : 0;
    struct support_encoding how = {
        prefixes, count, rex, (uint8_t)(random >> 16), (uint8_t)(random >> 24), support_random(&cases->seed)};
    unsigned modrm_at = support_encode(form, &how, bytes);
    if (!decode_bytes(cases, bytes, insn) || insn->row != form->row)
        return false;
    if (form->modrm && cases_has_memory(insn))
        aim_displacement(cases, bytes + modrm_at, insn);
    else if (cases_has_memory(insn))
        aim_offset(cases, bytes + modrm_at, insn);
    return adjust(cases, bytes, bytes + modrm_at, insn) && decode_bytes(cases, bytes, insn);
}

// ---- Memory -------------------------------------------------------------------------------------------------------

void cases_store(struct cases *cases, uint64_t linear, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++, linear++) {
        if (linear < USER_DATA || linear >= USER_DATA + USER_DATA_PAGES * PAGE_SIZE ||
            user_page_rights((unsigned)((linear - USER_DATA) >> PAGE_SHIFT)) != USER_PAGE_WRITE)
            continue;
        cases->guest->data[linear - USER_DATA] = (uint8_t)(value >> 8 * i);
        if (cases->host_data)
            cases->host_data[linear - USER_DATA] = (uint8_t)(value >> 8 * i);
    }
}

static uint64_t load_data(const struct cases *cases, uint64_t linear)
{
    if (linear - USER_DATA > USER_DATA_SIZE - 8)
        return 0;
    return load_le64(cases->guest->data + (linear - USER_DATA));
}

static uint64_t data_address(struct cases *cases)
{
    static const uint8_t edges[] = {8, 9, 10, 11, 12}; // pages whose rights differ from those before
    uint64_t random = support_random(&cases->seed);
    if (cases->aim)
        return cases->aim;
    if ((random >> 32 & 15) == 0)
        return USER_DATA + edges[(random >> 16) % ARRAY_SIZE(edges)] * PAGE_SIZE - (random & 15);
    return USER_DATA + USER_DATA_SIZE / 2 + (random & 0xfff) - (random >> 12 & 1 ? 0 : random & 15);
}

static uint64_t cut_address(const struct insn *insn, uint64_t offset)
{
    return insn->address_bytes == 8 ? offset : offset & bits_mask(insn->address_bytes * 8);
}

/// Sets base and index so that the memory operand lies in the data; its linear address.
static uint64_t aim_memory(struct cases *cases, const struct insn *insn, struct user_state *before)
{
    uint64_t segment = segment_base(cases, insn), offset = data_address(cases) - segment;
    uint64_t displacement = (uint64_t)insn->displacement, index = 0, ignored = support_random(&cases->seed);
    bool anywhere = !cases->aim && (ignored & 15) == 0;
    if (insn->index >= 0 && !anywhere)
        before->gpr[insn->index] = cases->aim ? 0 : ignored >> 8 & 0xff;
    if (insn->index >= 0)
        index = before->gpr[insn->index] << insn->scale;
    if (insn->base >= 0 && !anywhere) {
        if (insn->base == insn->index)
            before->gpr[insn->base] = (offset - displacement) / (1 + (UINT64_C(1) << insn->scale));
        else
            before->gpr[insn->base] = cut_address(insn, offset - displacement - index);
    }
    uint64_t address = displacement;
    if (insn->base == -2)
        address += USER_INSN + insn->length;
    if (insn->base >= 0)
        address += before->gpr[insn->base];
    if (insn->index >= 0)
        address += before->gpr[insn->index] << insn->scale;
    if (insn->address_bytes < 8 && insn->base >= 0 && insn->base != insn->index && insn->base != VAR_RSP)
        before->gpr[insn->base] |= ignored << (insn->address_bytes * 8); // not looked at
    address = segment + cut_address(insn, address);
    return cases->code64 ? address : (uint32_t)address;
}

// ---- State --------------------------------------------------------------------------------------------------------

static void aim_implicit(struct cases *cases, const struct insn *insn, struct user_state *before)
{
    uint64_t *seed = &cases->seed;
    if (is(insn, lift_string) || is(insn, lift_string_io)) {
        uint64_t gs = insn->segment_override == SEG_GS ? USER_DATA : 0;
        before->gpr[VAR_RSI] = data_address(cases) - gs;
        before->gpr[VAR_RDI] = support_random(seed) & 3 ? data_address(cases) : before->gpr[VAR_RSI] + gs + 3;
        if (insn->rep || insn->repne)
            before->gpr[VAR_RCX] = support_random(seed) & 31;
        if (support_random(seed) & 1)
            before->flags |= FLAG_DF;
    }
    if (is(insn, lift_xlat_table))
        before->gpr[VAR_RBX] = cut_address(insn, data_address(cases) - segment_base(cases, insn) -
                                                     (cases->aim ? before->gpr[VAR_RAX] & 0xff : 0));
    if (is(insn, lift_leave) || is(insn, lift_enter))
        before->gpr[VAR_RBP] = data_address(cases);
    if (is(insn, lift_div) && (support_random(seed) & 3)) {
        // A quotient that fits is likely.
        before->gpr[VAR_RDX] = support_random(seed) & 1 ? 0 : (uint64_t)((int64_t)before->gpr[VAR_RAX] >> 63);
    }
    if (is(insn, lift_bit_test) && insn->operand[1].kind == OPERAND_GPR) {
        uint64_t offset = cases->aim ? 0 : (support_random(seed) & 0x7fff) - 0x4000;
        before->gpr[insn->operand[1].reg] = insn->operand_bytes == 4 ? (uint32_t)offset : offset;
    }
    if (is(insn, lift_loop) && (support_random(seed) & 1))
        before->gpr[VAR_RCX] = support_random(seed) & 3;
    if (is(insn, lift_into)) // taken, it goes through the IDT
        before->flags &= ~(uint64_t)FLAG_OF;
    if (is(insn, lift_fsgsbase) && insn->row->argument == (SEG_FS | 1 << 8))
        before->gpr[insn->operand[0].reg] = cases->guest->fs_base;
}

/// Return addresses on the stack, flag images without what would trap.
static void aim_stack(struct cases *cases, const struct insn *insn, struct user_state *before)
{
    uint64_t rsp = before->gpr[VAR_RSP], random = support_random(&cases->seed);
    unsigned bytes = insn->operand_bytes;
    if (is(insn, lift_ret_near))
        cases_store(cases, rsp, target(cases), 8);
    if (is(insn, lift_popf))
        cases_store(cases, rsp, (random & (FLAGS_ARITHMETIC | FLAG_DF | FLAG_ID)) | 2, 8);
    if (is(insn, lift_far_return) || is(insn, lift_iret)) {
        cases_store(cases, rsp, target(cases), bytes);
        cases_store(cases, rsp + bytes, pick_code_selector(cases), bytes);
    }
    if (is(insn, lift_iret)) {
        cases_store(cases, rsp + 2 * bytes, (random & (FLAGS_ARITHMETIC | FLAG_DF)) | FLAG_IF | 2, bytes);
        cases_store(cases, rsp + 3 * bytes, USER_DATA + (random >> 32 & 0xff8), bytes);
        cases_store(cases, rsp + 4 * bytes, random >> 60 ? USER_DS : pick_selector(cases, insn), bytes);
    }
    if (is(insn, lift_pop_segment))
        cases_store(cases, rsp, pick_selector(cases, insn), bytes);
}

/// Branch targets, selectors.
static void aim_values(struct cases *cases, const struct insn *insn, struct user_state *before, uint64_t address)
{
    const struct operand *first = &insn->operand[0], *second = &insn->operand[1];
    bool to_register = insn->operand_count && first->kind == OPERAND_GPR;
    if (address && !(support_random(&cases->seed) & 3))
        cases_store(cases, address, pick_value(&cases->seed), 8);
    if (is(insn, lift_jmp) || is(insn, lift_call_near)) {
        if (to_register)
            before->gpr[first->reg] = target(cases);
        else if (first->kind == OPERAND_MEMORY)
            cases_store(cases, address, target(cases), 8);
    }
    if (is(insn, lift_far_indirect)) {
        cases_store(cases, address, target(cases), insn->operand_bytes);
        cases_store(cases, address + insn->operand_bytes, pick_code_selector(cases), 2);
    }
    if (is(insn, lift_load_far_pointer))
        cases_store(cases, address + insn->operand_bytes, pick_selector(cases, insn), 2);
    if (is(insn, lift_mov_to_segment) || is(insn, lift_query_descriptor)) {
        const struct operand *selector = is(insn, lift_mov_to_segment) || insn->operand_count == 2 ? second : first;
        if (selector->kind == OPERAND_GPR)
            before->gpr[selector->reg] = (before->gpr[selector->reg] & ~UINT64_C(0xffff)) | pick_selector(cases, insn);
        else
            cases_store(cases, address, pick_selector(cases, insn), 2);
    }
    if (is(insn, lift_bound) && (support_random(&cases->seed) & 3)) {
        cases_store(cases, address, UINT64_C(0x7fffff0080000000) >> (insn->operand_bytes == 2 ? 16 : 0), 8);
        if (insn->operand_bytes == 2)
            cases_store(cases, address, 0x7ff08000, 4);
    }
}

/// Comparands that are equal sometimes, unless they are part of the address.
static void aim_comparands(struct cases *cases, const struct insn *insn, struct user_state *before, uint64_t address)
{
    const struct operand *first = &insn->operand[0];
    for (unsigned n = 0; n < 2; n++) {
        int reg = n ? insn->index : insn->base;
        if (address && (reg == VAR_RAX || (reg == VAR_RDX && is(insn, lift_cmpxchg8b))))
            return;
    }
    if (is(insn, lift_cmpxchg) && (support_random(&cases->seed) & 1))
        before->gpr[VAR_RAX] = first->kind == OPERAND_MEMORY ? load_data(cases, address) : before->gpr[first->reg];
    if (is(insn, lift_cmpxchg8b) && (support_random(&cases->seed) & 1)) {
        bool wide = insn->operand[0].bytes == 16;
        uint64_t low = load_data(cases, address), high = load_data(cases, address + 8);
        before->gpr[VAR_RAX] = wide ? low : (uint32_t)low;
        before->gpr[VAR_RDX] = wide ? high : low >> 32;
    }
}

void cases_draw_state(struct cases *cases, const struct insn *insn, struct user_state *before)
{
    for (unsigned n = 0; n < 16; n++)
        before->gpr[n] = pick_value(&cases->seed);
    before->gpr[VAR_RSP] = data_address(cases);
    if (!cases->aim && (support_random(&cases->seed) & 7))
        before->gpr[VAR_RSP] &= ~UINT64_C(7);
    before->flags = (support_random(&cases->seed) & FLAGS_ARITHMETIC) | FLAG_IF | 2;
    uint64_t address = 0;
    aim_implicit(cases, insn, before);
    if (cases_has_memory(insn)) {
        address = aim_memory(cases, insn, before);
        if (insn->operand[0].bytes == 16 && insn->base >= 0 && (support_random(&cases->seed) & 7)) {
            before->gpr[insn->base] -= address & 15;
            address &= ~UINT64_C(15);
        }
    }
    for (unsigned n = 0; n < 16 && !cases->code64; n++)
        before->gpr[n] = n < 8 ? (uint32_t)before->gpr[n] : 0;
    aim_stack(cases, insn, before);
    aim_values(cases, insn, before, address);
    aim_comparands(cases, insn, before, address);
    for (unsigned n = 0; n < 16 && !cases->code64; n++)
        before->gpr[n] = n < 8 ? (uint32_t)before->gpr[n] : 0;
}

// ---- What is undefined --------------------------------------------------------------------------------------------

static unsigned shift_count(const struct insn *insn, const struct user_state *before)
{
    const struct operand *last = &insn->operand[insn->operand_count - 1];
    unsigned count = last->kind == OPERAND_IMMEDIATE ? (unsigned)insn->immediate : (unsigned)before->gpr[VAR_RCX];
    return count & (insn->operand[0].bytes == 8 ? 63 : 31);
}

uint64_t cases_defined_flags(const struct insn *insn, const struct user_state *before)
{
    const struct row *row = insn->row;
    uint64_t undefined = row->flags_undefined;
    if (!(row->attributes & ROW_COUNT_FLAGS))
        return ~undefined;
    bool rotate =
        row->argument == UOP_ROL || row->argument == UOP_ROR || row->argument == UOP_RCL || row->argument == UOP_RCR;
    unsigned count = shift_count(insn, before), size = insn->operand[0].bytes * 8;
    if (count == 0)
        return ~UINT64_C(0); // unchanged
    if (count == 1)
        undefined &= ~FLAG_OF;
    if (!rotate && row->argument != UOP_SAR && count > size)
        undefined |= FLAG_CF;
    if (is(insn, lift_double_shift) && count > size)
        undefined |= FLAGS_ARITHMETIC;
    return ~undefined;
}

bool cases_result_is_undefined(const struct insn *insn, const struct user_state *before)
{
    return is(insn, lift_double_shift) && insn->operand_bytes == 2 && shift_count(insn, before) > 16;
}
