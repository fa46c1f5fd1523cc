// LOCK before every opcode of one and two bytes, with every reg field, on memory and on a register: where it is not
// #UD (SDM vol. 2, LOCK). At ring 3; what should not run but does ends at an INT3.
#include "guest.h"

__attribute__((aligned(64))) u8 code[128], data[256]; // code is executable all the same
SNIPPET(enter,
        "mov $data,%eax\nmov %eax,%ecx\nmov %eax,%edx\nmov %eax,%ebx\nmov %eax,%ebp\nmov %eax,%esi\nmov %eax,%edi\n"
        "jmp code+32");

/// The vector, or -1: it ran.
static int run(const u8 *bytes, unsigned length)
{
    for (unsigned i = 0; i < sizeof code; i++)
        code[i] = 0xcc;
    for (unsigned i = 0; i < length; i++)
        ((volatile u8 *)code)[32 + i] = bytes[i];
    attempt_user(enter);
    return trap.vector;
}

static bool two_bytes;

static void opcode(unsigned number)
{
    u8 memory = 0, reg = 0;
    for (unsigned field = 0; field < 8; field++) {
        for (unsigned form = 0; form < 2; form++) {
            u8 bytes[16] = {0xf0}, length = 1;
            if (two_bytes)
                bytes[length++] = 0x0f;
            bytes[length++] = (u8)number;
            bytes[length++] = (u8)((form ? 0xc0 : 0x00) | field << 3); // [EAX] or EAX
            bytes[length] = bytes[length + 1] = bytes[length + 2] = bytes[length + 3] = 0;
            if (run(bytes, length + 4u) != 6)
                *(form ? &reg : &memory) |= (u8)(1 << field);
        }
    }
    if (!memory && !reg)
        return;
    put(two_bytes ? "LOCK 0F " : "LOCK ");
    put_hex(number, 2);
    put(":");
    put_field("memory", memory, 2);
    put_field("register", reg, 2);
    end_line();
}

static bool is_prefix(unsigned number)
{
    return (number & 0xe7) == 0x26 || (number >= 0x64 && number <= 0x67) || number == 0xf0 || number == 0xf2 ||
           number == 0xf3 || number == 0x0f || (BITS == 64 && number >= 0x40 && number <= 0x4f);
}

int main(void);
int main(void)
{
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    for (unsigned map = 0; map < 2; map++) {
        two_bytes = map;
        for (unsigned number = 0; number < 256; number++)
            if (map ? number != 0x38 && number != 0x3a : !is_prefix(number))
                opcode(number);
    }
    static const struct {
        const char *name;
        u8 length, bytes[8];
    } rows[] = {{"ADD with 66", 4, {0x66, 0xf0, 0x01, 0x00}},
                {"ADD with F2", 4, {0xf2, 0xf0, 0x01, 0x00}},
                {"ADD with F3", 4, {0xf0, 0xf3, 0x01, 0x00}},
                {"ADD with LOCK twice", 4, {0xf0, 0xf0, 0x01, 0x00}},
                {"ADD with a segment", 4, {0x3e, 0xf0, 0x01, 0x00}},
                {"CMPXCHG with F3", 5, {0xf3, 0xf0, 0x0f, 0xb1, 0x00}},
                {"ADD of a register with F2", 4, {0xf2, 0xf0, 0x01, 0xc0}},
                {"MOV with F3", 4, {0xf0, 0xf3, 0x89, 0x00}},
                {"POPCNT", 5, {0xf0, 0xf3, 0x0f, 0xb8, 0x00}},
                {"MOVBE", 5, {0xf0, 0x0f, 0x38, 0xf1, 0x00}},
                {"PAUSE", 3, {0xf0, 0xf3, 0x90}},
                {"long NOP", 4, {0xf0, 0x0f, 0x1f, 0x00}},
                {"MFENCE", 4, {0xf0, 0x0f, 0xae, 0xf0}}};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        int vector = run(rows[i].bytes, rows[i].length);
        put(rows[i].name);
        put(":");
        put(vector == 6 ? " #UD" : " runs");
        end_line();
    }
    return 0;
}
