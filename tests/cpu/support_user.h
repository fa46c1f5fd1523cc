// A guest of one page of code and some pages of data in which user-mode instructions run one at a time: 64-bit code,
// or 32-bit code in compatibility mode. The layout is what a Linux process has, so that support_host can do the same
// with the host's processor.
#ifndef DOPPEL_TESTS_CPU_SUPPORT_USER_H
#define DOPPEL_TESTS_CPU_SUPPORT_USER_H

#include "cpu/block.h"
#include "cpu/support_rows.h"

#define USER_CODE UINT64_C(0x30000000)
#define USER_INSN (USER_CODE + 0x400)
#define USER_TARGET64 (USER_CODE + 0xa00) // where taken branches go
#define USER_TARGET32 (USER_CODE + 0xc00)
#define USER_BRANCH_DISTANCE 0x20 // of relative branches

/// Data pages: eight that may be written; a hole; one; a read-only one; one; a hole. See user_page_rights.
#define USER_DATA UINT64_C(0x30010000)
#define USER_DATA_PAGES 13u
#define USER_DATA_SIZE (8 * PAGE_SIZE) // those where operands usually are
enum user_page { USER_PAGE_NONE, USER_PAGE_READ, USER_PAGE_WRITE };
enum user_page user_page_rights(unsigned page);

/// Selectors as Linux has them, and an LDT with one data segment: base USER_DATA, limit 0xFFFF, loaded into GS.
enum { USER_CS32 = 0x23, USER_DS = 0x2b, USER_CS64 = 0x33, USER_GS = 0x07 };

struct user_guest {
    struct memory memory;
    struct address_space space, ports;
    struct log log;
    struct cpu_model model;
    struct block_cache *blocks;
    struct cpu *cpu;
    uint8_t *data; // of USER_DATA
    bool code64;
    uint64_t fs_base; // in 64-bit code
    uint64_t start;   // where the instruction is
};

/// State before and after an instruction.
struct user_state {
    uint64_t gpr[16], flags, rip;
    uint16_t selector[6]; // after: ES CS SS DS FS GS
    int vector;           // of the fault, or -1
    uint32_t error_code;
    uint64_t cr2; // of a page fault
};

struct user_guest *user_guest_create(void);
void user_guest_destroy(struct user_guest *guest);
/// 64-bit code, or 32-bit code; sets all segments.
void user_guest_set_code(struct user_guest *guest, bool code64);
/// MODE_* for the decoder.
uint32_t user_mode(bool code64);
void user_guest_put_code(struct user_guest *guest, const uint8_t *bytes, unsigned length);
/// Code anywhere in the data pages instead; runs begin there.
void user_guest_put_code_at(struct user_guest *guest, uint64_t linear, const uint8_t *bytes, unsigned length);
/// Runs the instruction at guest->start; one with REP until it is through.
void user_guest_run(struct user_guest *guest, const struct user_state *before, struct user_state *after);

#endif
