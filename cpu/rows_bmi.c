// Rows of the bit manipulation extensions BMI1 and BMI2 (SDM vol. 2): VEX-encoded, on general registers. Their W means
// an operand of 64 bits in 64-bit code and nothing elsewhere.
#include "cpu/lift.h"
#include "cpu/model.h"

enum { CF = FLAG_CF, PF = FLAG_PF, AF = FLAG_AF, ZF = FLAG_ZF, SF = FLAG_SF, OF = FLAG_OF, SIX = FLAGS_ARITHMETIC };
#define LOGIC SIX & ~(AF | PF)

// encoding, mnemonic, operands, lift, argument, attributes, read, written, undefined, feature
// clang-format off
const struct row rows_bmi[] = {
    {"VEX.LZ.0F38.WIG F2 /r", "andn", "Gy,By,Ey", lift_andn, 0, 0, 0, LOGIC, AF | PF, FEATURE_BMI1},
    {"VEX.LZ.0F38.WIG F3 /1", "blsr", "By,Ey", lift_lowest_bit, UOP_BLSR, 0, 0, LOGIC, AF | PF, FEATURE_BMI1},
    {"VEX.LZ.0F38.WIG F3 /2", "blsmsk", "By,Ey", lift_lowest_bit, UOP_BLSMSK, 0, 0, LOGIC, AF | PF, FEATURE_BMI1},
    {"VEX.LZ.0F38.WIG F3 /3", "blsi", "By,Ey", lift_lowest_bit, UOP_BLSI, 0, 0, LOGIC, AF | PF, FEATURE_BMI1},
    {"VEX.LZ.0F38.WIG F7 /r", "bextr", "Gy,Ey,By", lift_bit_field, UOP_BEXTR, 0, 0, CF | OF | ZF, AF | PF | SF, FEATURE_BMI1},
    {"VEX.LZ.0F38.WIG F5 /r", "bzhi", "Gy,Ey,By", lift_bit_field, UOP_BZHI, 0, 0, LOGIC, AF | PF, FEATURE_BMI2},
    {"VEX.LZ.F2.0F38.WIG F5 /r", "pdep", "Gy,By,Ey", lift_bit_field, UOP_PDEP, 0, 0, 0, 0, FEATURE_BMI2},
    {"VEX.LZ.F3.0F38.WIG F5 /r", "pext", "Gy,By,Ey", lift_bit_field, UOP_PEXT, 0, 0, 0, 0, FEATURE_BMI2},
    {"VEX.LZ.F2.0F38.WIG F6 /r", "mulx", "Gy,By,Ey", lift_mulx, 0, 0, 0, 0, 0, FEATURE_BMI2},
    {"VEX.LZ.F2.0F3A.WIG F0 /r ib", "rorx", "Gy,Ey,Ib", lift_shiftx, UOP_ROR, 0, 0, 0, 0, FEATURE_BMI2},
    {"VEX.LZ.66.0F38.WIG F7 /r", "shlx", "Gy,Ey,By", lift_shiftx, UOP_SHL, 0, 0, 0, 0, FEATURE_BMI2},
    {"VEX.LZ.F3.0F38.WIG F7 /r", "sarx", "Gy,Ey,By", lift_shiftx, UOP_SAR, 0, 0, 0, 0, FEATURE_BMI2},
    {"VEX.LZ.F2.0F38.WIG F7 /r", "shrx", "Gy,Ey,By", lift_shiftx, UOP_SHR, 0, 0, 0, 0, FEATURE_BMI2},
};
// clang-format on
const unsigned rows_bmi_count = ARRAY_SIZE(rows_bmi);
