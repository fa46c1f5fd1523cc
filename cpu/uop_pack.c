// A packed uop is a word that tells what follows it, two fields that most uops use, two others if they are not what an
// unused one holds, and imm and param in as many bytes as they need. What does not fit this form stands there as it is.
// Both ways go without branches that depend on the uop but for that: what one is like says little about the next.
#include "cpu/uop_pack.h"

#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "cpu/cpu.h"

// Bits of the word. `code` comes first; op and width follow from it.
#define CODE_MASK 0x7ffu
#define CODE_WHOLE 0x7ffu // the uop itself follows these two bytes
#define WHOLE_BYTES (2 + sizeof(struct uop))
#define NEXT_INSN_AT 11u // one more than that of the uop before, which is 0 for the first one
#define AUX_AT 12u
#define B_AT 20u // it is there
#define SUB_AT 21u
#define IMM_AT 22u // number of a size: 0, 1, 2, 4 bytes, sign-extended
#define PARAM_AT 24u
#define LENGTH_AT 26u // of what follows dst and a: where the next uop is, is what reading waits for
#define LEAST_BYTES 6u
#define MOST_BYTES (LEAST_BYTES + 2 + 4 + 4)
_Static_assert(UOP_CODES <= CODE_WHOLE && MOST_BYTES - LEAST_BYTES < 1u << (32 - LENGTH_AT), "they fit");
_Static_assert(WHOLE_BYTES <= UOP_PACKED_MAX && MOST_BYTES <= UOP_PACKED_MAX && MOST_BYTES <= UOP_PACKED_BEHIND,
               "likewise");

// A uop as three words of 64 bits, as hosts have them whose least byte is the first.
_Static_assert(sizeof(struct uop) == 24 && offsetof(struct uop, code) == 0 && offsetof(struct uop, op) == 2 &&
                   offsetof(struct uop, width) == 3 && offsetof(struct uop, dst) == 4 && offsetof(struct uop, a) == 5 &&
                   offsetof(struct uop, b) == 6 && offsetof(struct uop, c) == 7 && offsetof(struct uop, imm) == 8 &&
                   offsetof(struct uop, insn) == 16 && offsetof(struct uop, sub) == 17 &&
                   offsetof(struct uop, aux) == 18 && offsetof(struct uop, param) == 20,
               "they are put together");

/// By code: op, and width in the upper byte.
#define OF(op, width) (uint16_t)((op) | (width) << 8)
#define FOUR(op) OF(op, WIDTH_8), OF(op, WIDTH_16), OF(op, WIDTH_32), OF(op, WIDTH_64)
#define EIGHT(op) FOUR(op), FOUR(op)
#define SAME_4(op, width) OF(op, width), OF(op, width), OF(op, width), OF(op, width)
static const uint16_t of_code[CODE_MASK + 1] = {
#define X(name) EIGHT(UOP_##name), EIGHT(UOP_##name),
    UOPS(X)
#undef X
        [UOP_CODE_XLAT_LOAD] = SAME_4(UOP_XLAT, WIDTH_8),
    [UOP_CODE_XLAT_STORE] = SAME_4(UOP_XLAT, WIDTH_8),
    SAME_4(UOP_XLAT, WIDTH_8),
    [UOP_CODE_EA_XLAT_LOAD] = SAME_4(UOP_EA, WIDTH_64),
    [UOP_CODE_EA_XLAT_STORE] = SAME_4(UOP_EA, WIDTH_64),
    SAME_4(UOP_EA, WIDTH_64),
    [UOP_CODE_EA_SIMPLE] = OF(UOP_EA, WIDTH_64),
    [UOP_CODE_COMPARE_EXIT] = EIGHT(UOP_SUB),
    [UOP_CODE_TEST_EXIT] = EIGHT(UOP_AND),
    [UOP_CODES... CODE_MASK] = UINT16_MAX,
};

/// Number of the size that a signed value needs, if it needs no more than four bytes.
static inline uint32_t size_of(int32_t value)
{
    return (uint32_t)(value != 0) + (uint32_t)(value != (int8_t)value) + (uint32_t)(value != (int16_t)value);
}

/// Hardly any needs two bytes.
static inline uint32_t size_of_param(int32_t value)
{
    return (uint32_t)(value != 0) + 2 * (uint32_t)(value != (int8_t)value);
}

static inline uint32_t size_bytes(uint32_t size)
{
    return 1u << size >> 1;
}

static uint8_t *pack_whole(const struct uop *u, uint8_t *to)
{
    store_le16(to, CODE_WHOLE);
    memcpy(to + 2, u, sizeof *u);
    return to + WHOLE_BYTES;
}

size_t uop_pack(const struct uop *uops, unsigned count, uint8_t *to)
{
    const uint8_t *start = to;
    uint32_t insn = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct uop *u = &uops[i];
        uint64_t fields = load_le64(u), rest = load_le64(&u->insn);
        uint32_t code = fields & CODE_MASK, step = (rest & 0xff) - insn, aux = rest >> 16 & 0xff;
        uint32_t b = u->b != VAR_ZERO, sub = u->sub != 0, imm = size_of((int32_t)u->imm),
                 param = size_of_param((int32_t)u->param);
        insn = rest & 0xff;
        if (UNLIKELY((uint32_t)fields != (code | (uint32_t)of_code[code] << 16) || fields >> 56 != VAR_ZERO ||
                     step > 1 || u->imm != (int32_t)u->imm)) {
            to = pack_whole(u, to);
            continue;
        }
        store_le64(to, (fields & ~(uint64_t)UINT32_MAX) |
                           (code | step << NEXT_INSN_AT | aux << AUX_AT | b << B_AT | sub << SUB_AT | imm << IMM_AT |
                            param << PARAM_AT | (b + sub + size_bytes(imm) + size_bytes(param)) << LENGTH_AT));
        to += LEAST_BYTES + b;
        *to = u->sub;
        to += sub;
        store_le32(to, (uint32_t)u->imm);
        to += size_bytes(imm);
        store_le32(to, u->param);
        to += size_bytes(param);
    }
    return (size_t)(to - start);
}

/// The first bytes of a number, as many as its size has, sign-extended.
static inline uint64_t number(uint32_t bytes, uint32_t size)
{
    // By a size's number: the bits that are there, and the highest of them.
    static const struct {
        uint32_t bits, sign;
    } sizes[4] = {{0, 0}, {0xff, 0x80}, {0xffff, 0x8000}, {UINT32_MAX, 0x80000000}};
    return (uint64_t)((bytes & sizes[size].bits) ^ sizes[size].sign) - sizes[size].sign;
}

const uint8_t *uop_unpack(const uint8_t *from, struct uop *uops, unsigned count)
{
    uint64_t insn = 0;
    for (unsigned i = 0; i < count; i++) {
        uint8_t *to = (uint8_t *)&uops[i];
        uint64_t first = load_le64(from), fields, value;
        uint32_t word = (uint32_t)first, code = word & CODE_MASK, b = word >> B_AT & 1, sub = word >> SUB_AT & 1,
                 imm = word >> IMM_AT & 3, param = word >> PARAM_AT & 3;
        const uint8_t *at = from + LEAST_BYTES + b;
        if (UNLIKELY(code == CODE_WHOLE)) {
            memcpy(to, from + 2, sizeof *uops);
            from += WHOLE_BYTES;
            insn = uops[i].insn;
            continue;
        }
        from += LEAST_BYTES + (word >> LENGTH_AT);
        insn += word >> NEXT_INSN_AT & 1;
        fields = (first >> 32 & 0xffff) | (uint64_t)VAR_ZERO << 24 |
                 (VAR_ZERO ^ ((VAR_ZERO ^ (first >> 48 & 0xff)) & -(uint64_t)b)) << 16; // dst, a, b, c
        store_le64(to, code | (uint32_t)of_code[code] << 16 | fields << 32);
        value = (word >> AUX_AT & 0xff) << 16 | (*at & -sub) << 8 | insn;
        at += sub;
        store_le64(to + 8, number(load_le32(at), imm));
        at += size_bytes(imm);
        store_le64(to + 16, value | number(load_le32(at), param) << 32);
    }
    return from;
}
