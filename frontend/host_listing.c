// See host_listing.h. Capstone knows every host; without it there are bytes.
#include "frontend/host_listing.h"

#include <inttypes.h>

#ifdef DOPPEL_CAPSTONE
#include <capstone/capstone.h>
#endif

static void print_bytes(FILE *to, const uint8_t *code, size_t size, uint64_t address)
{
    for (size_t i = 0; i < size; i++) {
        if (i % 16 == 0)
            fprintf(to, "%s  %016" PRIx64 " ", i ? "\n" : "", address + i);
        fprintf(to, " %02x", code[i]);
    }
    fputc('\n', to);
}

#ifdef DOPPEL_CAPSTONE
#ifdef __aarch64__
#define HOST_ARCHITECTURE CS_ARCH_ARM64
#define HOST_MODE CS_MODE_ARM
#else
#define HOST_ARCHITECTURE CS_ARCH_X86
#define HOST_MODE CS_MODE_64
#endif

void host_listing_print(FILE *to, const uint8_t *code, size_t size, uint64_t address)
{
    csh handle;
    cs_insn *insn;
    size_t count, done = 0;
    if (cs_open(HOST_ARCHITECTURE, HOST_MODE, &handle) != CS_ERR_OK) {
        print_bytes(to, code, size, address);
        return;
    }
    count = cs_disasm(handle, code, size, address, 0, &insn);
    for (size_t i = 0; i < count; i++) {
        fprintf(to, "  %016" PRIx64 "  %-8s %s\n", insn[i].address, insn[i].mnemonic, insn[i].op_str);
        done += insn[i].size;
    }
    if (count)
        cs_free(insn, count);
    cs_close(&handle);
    if (done < size)
        print_bytes(to, code + done, size - done, address + done);
}
#else
void host_listing_print(FILE *to, const uint8_t *code, size_t size, uint64_t address)
{
    print_bytes(to, code, size, address);
}
#endif
