// Random code, see stress.h: rows' encodings put together with random operands, branches to instructions of the same
// code, and now and then plain random bytes.
#include <stdlib.h>
#include <string.h>

#include "stress.h"

#define MAX_STARTS 1024

// ---- one instruction from a row -----------------------------------------------------------------------------------
struct encoder {
    struct stress_random *random;
    unsigned trouble;
    bool code64;
    uint8_t prefix[4];
    unsigned prefix_count;
    uint8_t rex;
    uint8_t body[8]; // opcode bytes
    unsigned body_count;
    bool has_modrm;
    uint8_t modrm;
    uint8_t vex[3];
    unsigned vex_count;
};

static int hex_byte(const char *word)
{
    char *end;
    unsigned long value = strtoul(word, &end, 16);
    return end == word + 2 && (*end == 0 || *end == '+') ? (int)value : -1;
}

/// "VEX.L0.66.0F38.W0" as the three-byte prefix, the unused register fields random.
static void encode_vex(struct encoder *e, const char *word)
{
    struct stress_random *r = e->random;
    unsigned map = strstr(word, ".0F38") ? 2 : strstr(word, ".0F3A") ? 3 : 1;
    unsigned pp = strstr(word, ".66") ? 1 : strstr(word, ".F3") ? 2 : strstr(word, ".F2") ? 3 : 0;
    bool w = strstr(word, ".W1") || (strstr(word, ".WIG") && stress_one_in(r, 2));
    bool fixed = strstr(word, ".L0") || strstr(word, ".LZ") || strstr(word, ".128");
    bool l = strstr(word, ".L1") || strstr(word, ".256") || (!fixed && stress_one_in(r, 2));
    unsigned high = e->code64 ? stress_below(r, 8) : 7;
    unsigned vvvv = strstr(word, "NV") ? 15 : stress_one_in(r, 4) ? 15 : stress_below(r, 16) | (e->code64 ? 0 : 8);
    e->vex[0] = 0xc4;
    e->vex[1] = (uint8_t)(high << 5 | map);
    e->vex[2] = (uint8_t)((w ? 0x80 : 0) | vvvv << 3 | (l ? 4 : 0) | pp);
    e->vex_count = 3;
}

static void encode_word(struct encoder *e, const char *word)
{
    int byte = hex_byte(word);
    if (!strncmp(word, "VEX", 3)) {
        encode_vex(e, word);
    } else if (!strcmp(word, "REX.W")) {
        e->rex |= 0x48;
    } else if (word[0] == '/') {
        e->has_modrm = true;
        e->modrm = (uint8_t)stress_next(e->random);
        if (word[1] != 'r')
            e->modrm = (uint8_t)((e->modrm & 0xc7) | (word[1] - '0') << 3);
    } else if (byte >= 0 && !e->body_count && (byte == 0x66 || byte == 0xf2 || byte == 0xf3)) {
        e->prefix[e->prefix_count++] = (uint8_t)byte;
    } else if (byte >= 0 && e->body_count < sizeof e->body) {
        e->body[e->body_count++] = (uint8_t)(byte + (word[2] == '+' ? stress_below(e->random, 8) : 0));
    } // the rest are conditions and immediates: what follows is random anyway
}

static void encode_prefixes(struct encoder *e)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    struct stress_random *r = e->random;
    if (e->prefix_count < 2 && !e->vex_count && stress_one_in(r, 6))
        e->prefix[e->prefix_count++] = 0x66;
    if (e->prefix_count < 2 && stress_one_in(r, 16))
        e->prefix[e->prefix_count++] = 0x67;
    if (e->prefix_count < 3 && stress_one_in(r, 24))
        e->prefix[e->prefix_count++] = segments[stress_below(r, sizeof segments)];
    if (e->prefix_count < 3 && !e->vex_count && stress_one_in(r, 24))
        e->prefix[e->prefix_count++] = stress_one_in(r, 2) ? 0xf0 : stress_one_in(r, 2) ? 0xf2 : 0xf3;
    if (e->code64 && !e->vex_count && stress_one_in(r, 2))
        e->rex |= (uint8_t)(0x40 | stress_below(r, 16));
}

static unsigned put(struct encoder *e, uint8_t *bytes)
{
    struct stress_random *r = e->random;
    uint64_t tail[2] = {stress_next(r), stress_next(r)};
    unsigned n = 0;
    memcpy(bytes, e->prefix, e->prefix_count);
    n += e->prefix_count;
    if (e->rex && e->code64)
        bytes[n++] = e->rex;
    memcpy(bytes + n, e->vex, e->vex_count);
    n += e->vex_count;
    memcpy(bytes + n, e->body, e->body_count);
    n += e->body_count;
    if (e->has_modrm)
        bytes[n++] = e->modrm;
    // Displacements and immediates are small more often than not, so that operands stay near the data, and aligned.
    uint8_t *byte = (uint8_t *)tail;
    if (!stress_one_in(r, 4) || !e->trouble)
        for (unsigned i = 1; i < 16; i++)
            if (i % 4 || stress_one_in(r, 2))
                byte[i] = byte[i & 12] & 0x80 && i % 4 ? 0xff : 0;
    if (stress_one_in(r, 2))
        byte[0] &= 0xf0;
    memcpy(bytes + n, tail, 16 - n < 16 ? 16 - n : 16);
    return n;
}

static bool is_calm(const struct row *row)
{
    static const char *const wild[] = {"hlt",     "ud",      "int",    "ret",  "retf",  "bound",  "loop",
                                       "iret",    "icebp",   "jmp",    "call", "lcall", "ljmp",   "leave",
                                       "enter",   "div",     "idiv",   "aam",  "fldcw", "fldenv", "frstor",
                                       "ldmxcsr", "fxrstor", "xrstor", "j"};
    for (unsigned i = 0; i < ARRAY_SIZE(wild); i++)
        if (!strncmp(row->mnemonic, wild[i], strlen(wild[i])))
            return false;
    return true;
}

/// How often a chapter's rows are taken: the system's less, since they change the world, and none in a calm case.
static const struct row *random_row(struct stress_random *random, unsigned trouble)
{
    for (;;) {
        const struct row *row = row_get(stress_below(random, row_count()));
        bool system = row >= rows_system && row < rows_system + rows_system_count;
        bool integer = row >= rows_integer && row < rows_integer + rows_integer_count;
        bool x87 = row >= rows_x87 && row < rows_x87 + rows_x87_count;
        if (!trouble && (system || !is_calm(row)) && !stress_one_in(random, 100))
            continue;
        if (integer || !stress_one_in(random, 3))
            if (!system || stress_one_in(random, 6))
                if (!x87 || stress_one_in(random, 2))
                    return row;
    }
}

static unsigned from_row(struct stress_random *random, unsigned trouble, bool code64, uint8_t *bytes)
{
    struct encoder e = {.random = random, .trouble = trouble, .code64 = code64};
    char text[96], *rest = NULL;
    snprintf(text, sizeof text, "%s", random_row(random, trouble)->encoding);
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        encode_word(&e, word);
    encode_prefixes(&e);
    return put(&e, bytes);
}

static bool is_flat(uint32_t mode)
{
    return (mode & MODE_CODE_MASK) == MODE_CODE64 || (mode & MODE_FLAT);
}

/// A register gets a pointer to plain data again: mov reg, imm.
static unsigned new_pointer(uint32_t mode, struct stress_random *random, uint8_t *bytes)
{
    bool code16 = (mode & MODE_CODE_MASK) == MODE_CODE16;
    uint32_t value = (is_flat(mode) ? STRESS_DATA + 0xa000 : 0) + stress_below(random, 4 * PAGE_SIZE);
    unsigned reg = stress_below(random, 8), n = 0;
    if (reg == VAR_RSP)
        reg = VAR_RSI;
    if (!stress_one_in(random, 4))
        value &= ~15u;
    bytes[n++] = (uint8_t)(0xb8 + reg);
    memcpy(bytes + n, &value, 4);
    return n + (code16 ? 2 : 4);
}

unsigned stress_instruction(struct stress *stress, const struct cpu_model *model, uint32_t mode,
                            struct stress_random *random, uint8_t *bytes)
{
    struct insn insn;
    for (unsigned tries = 0; tries < 1000; tries++) {
        bool code64 = (mode & MODE_CODE_MASK) == MODE_CODE64;
        if (stress_one_in(random, stress->trouble ? 16 : 200))
            for (unsigned i = 0; i < 16; i++)
                bytes[i] = (uint8_t)stress_next(random);
        else
            from_row(random, stress->trouble, code64, bytes);
        enum decode_status status = decode(stress->rows, model, mode, bytes, INSN_MAX_LENGTH, &insn);
        if (status != DECODE_OK && (!stress->trouble || !stress_one_in(random, 300)))
            continue;
        stress->instructions_made++;
        if (status == DECODE_OK)
            stress->row_seen[row_number(insn.row)] = 1;
        return insn.length && insn.length <= INSN_MAX_LENGTH ? insn.length : 1;
    }
    bytes[0] = 0x90;
    return 1;
}

// ---- many of them -------------------------------------------------------------------------------------------------
struct branch {
    unsigned at;   // where its displacement is
    unsigned size; // 1, 2 or 4
    bool absolute; // an offset in CS instead
};

static unsigned put_bytes(uint8_t *to, const void *bytes, unsigned count)
{
    memcpy(to, bytes, count);
    return count;
}

/// An indirect branch to a place that is set later: by a register, or by the stack.
static unsigned indirect(uint32_t mode, struct stress_random *random, uint8_t *bytes, struct branch *place)
{
    static const uint8_t ends[][2] = {{0xff, 0xe0}, {0xff, 0xd0}}; // jmp, call by rAX
    unsigned n = 0;
    place->size = (mode & MODE_CODE_MASK) == MODE_CODE16 ? 2 : 4;
    place->absolute = true;
    place->at = 1;
    bool push = stress_one_in(random, 3);
    bytes[n++] = push ? 0x68 : 0xb8;
    n += place->size;
    if (push)
        bytes[n++] = 0xc3;
    else
        n += put_bytes(bytes + n, ends[stress_below(random, 2)], 2);
    return n;
}

/// What a kernel does to code that runs: another mapping of its second page, then INVLPG or CR3; new bytes. Flat code.
static unsigned disturbance(uint32_t mode, struct stress_random *random, uint8_t *bytes)
{
    static const uint8_t reload[] = {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8}; // mov eax, cr3; mov cr3, eax
    static const uint8_t invlpg[] = {0x0f, 0x01, 0x3c, 0x25};
    static const uint8_t store32[] = {0xc7, 0x04, 0x25}, store8[] = {0xc6, 0x04, 0x25};
    static const uint32_t pages[] = {STRESS_CODE + 0x1000, STRESS_CODE + 0x1000, STRESS_CODE, STRESS_DATA + 0xa000};
    uint32_t entry =
        STRESS_TABLE + ((STRESS_CODE >> PAGE_SHIFT) + 1) * ((mode & MODE_LONG) || stress_one_in(random, 2) ? 8 : 4);
    uint32_t value = pages[stress_below(random, 4)] | 7, at;
    unsigned n = 0;
    switch (stress_below(random, 4)) {
    case 0:
        return put_bytes(bytes, reload, sizeof reload);
    case 1:
        n += put_bytes(bytes + n, store32, sizeof store32);
        n += put_bytes(bytes + n, &entry, 4);
        n += put_bytes(bytes + n, &value, 4);
        if (stress_one_in(random, 3))
            return n + put_bytes(bytes + n, reload, sizeof reload);
        at = STRESS_CODE + 0x1000;
        n += put_bytes(bytes + n, invlpg, sizeof invlpg);
        return n + put_bytes(bytes + n, &at, 4);
    default:
        at = STRESS_CODE + stress_below(random, stress_one_in(random, 2) ? STRESS_CODE_SIZE : 0x200);
        n += put_bytes(bytes + n, store8, sizeof store8);
        n += put_bytes(bytes + n, &at, 4);
        bytes[n++] = stress_one_in(random, 2) ? 0x90 : (uint8_t)stress_next(random);
        return n;
    }
}

/// A branch whose target is set later: jcc, jmp, call, loop.
static unsigned branch(uint32_t mode, struct stress_random *random, uint8_t *bytes, struct branch *place)
{
    unsigned wide = (mode & MODE_CODE_MASK) == MODE_CODE16 ? 2 : 4, n = 0;
    unsigned kind = stress_below(random, 10);
    if (kind > 7)
        return indirect(mode, random, bytes, place);
    place->absolute = false;
    place->size = kind == 4 || kind == 5 ? wide : kind == 7 ? wide : 1;
    if (kind < 4) {
        bytes[n++] = (uint8_t)(0x70 | stress_below(random, 16));
    } else if (kind == 4) {
        bytes[n++] = 0x0f;
        bytes[n++] = (uint8_t)(0x80 | stress_below(random, 16));
    } else if (kind == 5) {
        bytes[n++] = 0xe9;
    } else if (kind == 6) {
        bytes[n++] = (uint8_t)(0xe0 + stress_below(random, 4));
    } else {
        bytes[n++] = 0xe8;
    }
    place->at = n;
    memset(bytes + n, 0, place->size);
    return n + place->size;
}

static void aim(uint8_t *code, uint32_t mode, const struct branch *from, const unsigned *starts, unsigned count,
                unsigned here, struct stress_random *random)
{
    // Mostly to one of the neighbours, so that short displacements reach, and loops form.
    unsigned near = here + stress_below(random, 24), end = from->at + from->size;
    near = near < 12 ? 0 : near - 12;
    unsigned to = from->size > 1 && stress_one_in(random, 3) ? stress_below(random, count)
                  : near < count                             ? near
                                                             : count - 1;
    int64_t distance = (int64_t)starts[to] - (int64_t)end;
    if (from->absolute)
        distance = (int64_t)starts[to] + (is_flat(mode) ? STRESS_CODE : 0);
    if (from->size == 1 && (distance < -128 || distance > 127))
        distance = 0;
    memcpy(code + from->at, &distance, from->size);
}

void stress_code(struct stress *stress, const struct cpu_model *model, uint32_t mode, struct stress_random *random,
                 uint8_t *bytes)
{
    static const unsigned most[] = {40, 200, 1000, MAX_STARTS};
    unsigned starts[MAX_STARTS], count = 0, limit = most[stress_below(random, 4)], at = 0;
    struct branch branches[MAX_STARTS];
    unsigned branch_of[MAX_STARTS], branch_count = 0, every = 4 + stress_below(random, 12);
    unsigned shapes = stress_one_in(random, 3) ? 0 : 2 + stress_below(random, 12); // one in so many, 0: none
    memset(bytes, 0xf4, STRESS_CODE_SIZE);
    // Now and then over the page's end.
    if (stress_one_in(random, 3))
        at = PAGE_SIZE - stress_below(random, 60);
    while (count < limit && at + STRESS_SHAPE < STRESS_CODE_SIZE) {
        uint8_t insn[STRESS_SHAPE];
        unsigned length;
        starts[count] = at;
        if (stress_one_in(random, every)) {
            struct branch *b = &branches[branch_count];
            length = branch(mode, random, insn, b);
            b->at += at;
            branch_of[branch_count++] = count;
        } else if (stress_one_in(random, stress->trouble == 2 ? 30 : 6)) {
            length = new_pointer(mode, random, insn);
        } else if (is_flat(mode) && !stress->conflicts && stress_one_in(random, stress->trouble ? 25 : 60)) {
            length = disturbance(mode, random, insn);
        } else if (shapes && stress_one_in(random, shapes)) {
            length = stress_shape(stress, mode, random, insn, sizeof insn, at);
        } else {
            length = stress_instruction(stress, model, mode, random, insn);
        }
        memcpy(bytes + at, insn, length);
        at += length;
        count++;
    }
    for (unsigned i = 0; i < branch_count; i++)
        aim(bytes, mode, &branches[i], starts, count, branch_of[i], random);
    for (unsigned i = 0; i < STRESS_STARTS; i++)
        stress->starts[i] = (uint16_t)starts[stress_below(random, count)];
    // What runs off the end begins anew.
    if (!stress_one_in(random, 4) && at + 5 < STRESS_CODE_SIZE) {
        struct branch back = {.at = at + 1, .size = (mode & MODE_CODE_MASK) == MODE_CODE16 ? 2 : 4};
        bytes[at] = 0xe9;
        aim(bytes, mode, &back, starts, 1, 0, random);
    }
}
