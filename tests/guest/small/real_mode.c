// Real mode: wrapping addresses and limits, a big segment left over from protected mode, faults, INT and IRET through
// the vector table, decimal instructions, strings with 16-bit registers, 32-bit operands; and back. See
// real_mode_code.S.
#include "guest.h"

void real_mode_run(void);

int main(void);
int main(void)
{
    static const char *const names[] = {"BX and SI wrap",
                                        "BP uses SS",
                                        "word at FFFF",
                                        "CMP at FFFF",
                                        "ESI of 10000",
                                        "FS keeps 4 GiB",
                                        "INT pushes flags",
                                        "IRET brings flags",
                                        "DIV by 0",
                                        "UD2",
                                        "LLDT",
                                        "STR",
                                        "DAA",
                                        "DAS",
                                        "AAA",
                                        "AAS",
                                        "AAM",
                                        "AAD",
                                        "AAD with 16",
                                        "SALC",
                                        "MOVSB wraps",
                                        "and then",
                                        "SI",
                                        "upper ESI",
                                        "CX",
                                        "upper ECX",
                                        "POP low",
                                        "POP high",
                                        "LEA of 32-bit address",
                                        "LEA of 16-bit address",
                                        "and its upper half",
                                        "LOOP",
                                        "ENTER and LEAVE",
                                        "LDS",
                                        "DS",
                                        "far return",
                                        "above 1 MiB"};
    set_segment(0x58, 0x10000, 0xffff, 0x9b, 0);
    set_segment(0x60, 0, 0xffff, 0x93, 0);
    set_segment(0x68, 0, 0xfffff, 0x93, 0x8);
    real_mode_run();
    volatile u16 *results = (u16 *)0x40000;
    u32 count = *(volatile u16 *)0x61004 / 2u;
    for (u32 i = 0; i < COUNT_OF(names) && i < count; i++) {
        put(names[i]);
        put(":");
        put_field("ax", results[i], 4);
        end_line();
    }
    put("results:");
    put_field("count", count, 4);
    put_field("names", COUNT_OF(names), 4);
    end_line();
    return 0;
}
