// See support_zydis.h.
#include "support_zydis.h"

#include <Zydis/Zydis.h>

bool zydis_extension_may_be_missing(const ZydisDecodedInstruction *zydis)
{
    static const uint8_t with_vex[] = {ZYDIS_ISA_EXT_BMI1,       ZYDIS_ISA_EXT_BMI2,   ZYDIS_ISA_EXT_AVX,
                                       ZYDIS_ISA_EXT_AVX2,       ZYDIS_ISA_EXT_AVXAES, ZYDIS_ISA_EXT_FMA,
                                       ZYDIS_ISA_EXT_AVX2GATHER, ZYDIS_ISA_EXT_F16C};
    for (unsigned i = 0; i < sizeof with_vex; i++)
        if (zydis->meta.isa_ext == (ZydisISAExt)with_vex[i])
            return false;
    if (zydis->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return true; // VEX, EVEX, XOP, 3DNow!
    switch (zydis->meta.isa_ext) {
    case ZYDIS_ISA_EXT_AMD3DNOW:
    case ZYDIS_ISA_EXT_AMD_INVLPGB:
    case ZYDIS_ISA_EXT_CET:
    case ZYDIS_ISA_EXT_CLDEMOTE:
    case ZYDIS_ISA_EXT_CLZERO:
    case ZYDIS_ISA_EXT_MCOMMIT:
    case ZYDIS_ISA_EXT_MONITORX:
    case ZYDIS_ISA_EXT_MOVDIR:
    case ZYDIS_ISA_EXT_PADLOCK:
    case ZYDIS_ISA_EXT_PCONFIG:
    case ZYDIS_ISA_EXT_PKU:
    case ZYDIS_ISA_EXT_PT:
    case ZYDIS_ISA_EXT_RDPRU:
    case ZYDIS_ISA_EXT_RTM:
    case ZYDIS_ISA_EXT_SERIALIZE:
    case ZYDIS_ISA_EXT_SGX:
    case ZYDIS_ISA_EXT_SGX_ENCLV:
    case ZYDIS_ISA_EXT_SMX:
    case ZYDIS_ISA_EXT_SSE4A:
    case ZYDIS_ISA_EXT_SVM:
    case ZYDIS_ISA_EXT_SNP:
    case ZYDIS_ISA_EXT_TDX:
    case ZYDIS_ISA_EXT_TSX_LDTRK:
    case ZYDIS_ISA_EXT_UINTR:
    case ZYDIS_ISA_EXT_VMFUNC:
    case ZYDIS_ISA_EXT_VTX:
    case ZYDIS_ISA_EXT_WAITPKG:
    case ZYDIS_ISA_EXT_GFNI:
    case ZYDIS_ISA_EXT_ENQCMD:
    case ZYDIS_ISA_EXT_HRESET:
    case ZYDIS_ISA_EXT_KEYLOCKER:
    case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
        return true;
    default:
        return false;
    }
}
