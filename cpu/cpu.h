// One x86 vCPU: its architectural state, its pins and the services that helpers and engines share. Knows address
// spaces and pins, no device.
#ifndef DOPPEL_CPU_CPU_H
#define DOPPEL_CPU_CPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/log.h"
#include "base/state.h"
#include "base/tick_line.h"
#include "base/wire.h"
#include "mmu/mmu.h"

// ---- Named variables of the uops. Each is a 64-bit slot of cpu->var. -----------------------------------------
// clang-format off
enum cpu_var {
    VAR_RAX, VAR_RCX, VAR_RDX, VAR_RBX, VAR_RSP, VAR_RBP, VAR_RSI, VAR_RDI,
    VAR_R8, VAR_R9, VAR_R10, VAR_R11, VAR_R12, VAR_R13, VAR_R14, VAR_R15,
    VAR_RIP,       // address of the running block's first instruction; between blocks, of the next instruction
    VAR_CC_OP,     // flags recipe: enum cc_op << 2 | width (0..3); what is above bit 7 counts only where that says so
    VAR_CC_RESULT, // its result, as wide as the recipe says (upper bits are garbage)
    VAR_CC_SRC,    // second operand (upper bits are garbage)
    VAR_CC_EXTRA,  // carry-in (ADC, SBB), preserved CF (INC, DEC), the six flags themselves (CC_LITERAL)
    VAR_ZERO,      // always 0
    VAR_ES_BASE, VAR_CS_BASE, VAR_SS_BASE, VAR_DS_BASE, VAR_FS_BASE, VAR_GS_BASE, // in the order of segment numbers
    VAR_FLAGS,     // RFLAGS less CF PF AF ZF SF OF (those live in the recipe); bit 1 is set
    VAR_NONE,      // a result that nobody wants
    VAR_X87_DATA,  // offset of the running x87 instruction's memory operand; dead between instructions
    VAR_RESERVED1,
    VAR_TEMP,      // first temporary; single assignment inside a block; bits above the written width are undefined
    VAR_ANCHOR = 248, // the first that no block uses: a translator's own, across blocks
    VAR_COUNT = 256
};
// clang-format on

enum { WIDTH_8, WIDTH_16, WIDTH_32, WIDTH_64 }; // uop widths; bytes = 1 << width
/// WIDTH_* of 1, 2, 4, 8 bytes.
static inline uint8_t width_of(unsigned bytes)
{
    return (uint8_t)__builtin_ctz(bytes);
}

/// How the six arithmetic flags follow from result, src and extra.
enum cc_op {
    CC_LITERAL,  // extra holds them in their RFLAGS places
    CC_ADD,      // result = first + src
    CC_ADC,      // result = first + src + extra
    CC_SUB,      // result = first - src (CMP, NEG with first 0)
    CC_SBB,      // result = first - src - extra
    CC_LOGIC,    // CF = OF = AF = 0
    CC_INC,      // CF = extra
    CC_DEC,      // CF = extra
    CC_SHL,      // src = the first operand shifted left by count-1: CF = its top bit
    CC_SHR,      // src = the first operand shifted right by count-1: CF = its bit 0; OF = its top bit
    CC_SAR,      // likewise; OF = 0
    CC_CARRY,    // as CC_LOGIC, but CF = bit 0 of extra
    CC_MUL,      // SF and PF of the result; CF = OF = bit 0 of extra
    CC_TEST,     // as CC_LOGIC, but result is the first operand, of which src takes the bits
    CC_CMP,      // as CC_SUB, but result is the first operand
    CC_TEST_IMM, // as CC_TEST; src = bits 16..31 of VAR_CC_OP, sign-extended
    CC_CMP_IMM,  // as CC_CMP with such a src
    CC_ADD_IMM,  // as CC_ADD with such a src
    CC_SUB_IMM,  // as CC_SUB with such a src
    CC_OPS
};
#define CC_OP_BITS 0x7f // of VAR_CC_OP: operation and width
/// Bits of VAR_CC_OP: CF is not the recipe's, but CC_CARRY_VALUE (bit tests); only then the others count. Likewise OF
/// (rotates).
#define CC_CARRY_REPLACED 0x80
#define CC_OVERFLOW_VALUE 0x100
#define CC_CARRY_VALUE 0x200
#define CC_OVERFLOW_REPLACED 0x800
#define CC_IMM_SHIFT 16

// ---- RFLAGS, control registers, MSRs --------------------------------------------------------------------------
#define FLAG_CF UINT64_C(0x1)
#define FLAG_PF UINT64_C(0x4)
#define FLAG_AF UINT64_C(0x10)
#define FLAG_ZF UINT64_C(0x40)
#define FLAG_SF UINT64_C(0x80)
#define FLAG_TF UINT64_C(0x100)
#define FLAG_IF UINT64_C(0x200)
#define FLAG_DF UINT64_C(0x400)
#define FLAG_OF UINT64_C(0x800)
#define FLAG_IOPL UINT64_C(0x3000)
#define FLAG_NT UINT64_C(0x4000)
#define FLAG_RF UINT64_C(0x10000)
#define FLAG_VM UINT64_C(0x20000)
#define FLAG_AC UINT64_C(0x40000)
#define FLAG_VIF UINT64_C(0x80000)
#define FLAG_VIP UINT64_C(0x100000)
#define FLAG_ID UINT64_C(0x200000)
#define FLAGS_ARITHMETIC (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define CR0_PE UINT64_C(0x1)
#define CR0_MP UINT64_C(0x2)
#define CR0_EM UINT64_C(0x4)
#define CR0_TS UINT64_C(0x8)
#define CR0_ET UINT64_C(0x10)
#define CR0_NE UINT64_C(0x20)
#define CR0_WP UINT64_C(0x10000)
#define CR0_AM UINT64_C(0x40000)
#define CR0_NW UINT64_C(0x20000000)
#define CR0_CD UINT64_C(0x40000000)
#define CR0_PG UINT64_C(0x80000000)

#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_LA57 BIT(12)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)

#define MISC_ENABLE_MONITOR BIT(18)

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define EFER_AIBRSE BIT(21) // AMD's automatic IBRS: kept, without effect

enum cpu_vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_MC = 18,
    VECTOR_XM = 19
};

enum cpu_segment { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/// Rights as bits 8..23 of a descriptor's second dword, moved to bit 0 (the limit's bits 8..11 are 0), plus
/// SEGMENT_UNUSABLE for a null selector.
#define SEGMENT_TYPE 0x000fu
#define SEGMENT_S 0x0010u
#define SEGMENT_DPL 0x0060u
#define SEGMENT_P 0x0080u
#define SEGMENT_AVL 0x1000u
#define SEGMENT_L 0x2000u
#define SEGMENT_DB 0x4000u
#define SEGMENT_G 0x8000u
#define SEGMENT_UNUSABLE 0x10000u

struct segment {
    uint16_t selector;
    uint32_t rights;
    uint32_t limit; // in bytes, granularity applied
    uint64_t base;  // LDTR and TR only; the base of ES..GS is var[VAR_ES_BASE + n]
};

struct descriptor_table {
    uint64_t base;
    uint16_t limit;
};

/// Parts of the state that host code keeps in the host's registers of the same name.
#define RESIDENT_SSE 1u // xmm0..15, MXCSR
#define RESIDENT_X87 2u // x87 and MMX, but for the pointers
#define RESIDENT_AVX 4u // upper halves of ymm0..15; only together with RESIDENT_SSE

/// A vector register, wide enough for what follows SSE. x86 byte order.
union vreg {
    _Alignas(16) uint8_t u8[64];
    uint16_t u16[32];
    uint32_t u32[16];
    uint64_t u64[8];
    int8_t s8[64];
    int16_t s16[32];
    int32_t s32[16];
    int64_t s64[8];
    float f32[16];
    double f64[8];
};

#define AVX_BYTES 32u // of a union vreg are in use
/// Numbers of vector registers in uops; cpu_vreg gives their place. MMX registers are physical (MM0 = 40).
enum { VREG_XMM = 0, VREG_TEMP = 32, VREG_TEMPS = 4, VREG_MM = 40, VREG_COUNT = 48 };

/// An x87 register. MMX registers are the significands.
struct f80 {
    uint64_t significand;
    uint16_t sign_exponent;
    uint16_t unused[3];
};

struct x87 {
    _Alignas(16) struct f80 reg[8]; // physical: ST(i) is reg[(top + i) & 7]
    uint16_t control;               // FCW
    uint16_t status;                // FSW less TOP
    uint8_t top;
    uint8_t valid;   // bit per physical register: not empty
    uint16_t opcode; // FOP, 11 bits
    uint64_t ip, dp; // FIP, FDP
    uint16_t cs, ds; // FCS, FDS
};

/// How a model tracks x87 pointers (SDM vol. 1 sec. 8.1.8, 8.1.9); 0: FIP, FCS, FDP, FDS and FOP follow every
/// instruction that is not control.
#define X87_SELECTORS_ZERO 0x1u   // outside real-address and virtual-8086 mode FCS and FDS are 0
#define X87_DATA_ON_FAULT 0x2u    // FDP and FDS change only with an unmasked exception
#define X87_OPCODE_ON_FAULT 0x4u  // FOP likewise
#define X87_SAVE_IF_PENDING 0x8u  // FXSAVE stores pointers only while FSW.ES is set, else zeros
#define X87_LOAD_IF_PENDING 0x10u // FXRSTOR and XRSTOR load, XSAVE stores them only with FSW.ES

/// The executed block's mode, fixed while it runs; part of its key. Recomputed by cpu_update_mode.
#define MODE_CPL_MASK 0x3u
#define MODE_CODE16 (0u << 2) // size of code: default operand and address size
#define MODE_CODE32 (1u << 2)
#define MODE_CODE64 (2u << 2)
#define MODE_CODE_MASK (3u << 2)
#define MODE_STACK32 (1u << 4) // SS.B (64-bit code always uses RSP)
#define MODE_FLAT (1u << 5)    // 32-bit: CS, DS, ES, SS have base 0, limit 4 GiB, are writable where they must be
#define MODE_PROTECTED (1u << 6)
#define MODE_VM86 (1u << 7)
#define MODE_LONG (1u << 8) // EFER.LMA
#define MODE_TF (1u << 9)   // single-step: one instruction a block, #DB after it
#define MODE_AC (1u << 10)  // supervisor accesses are SMAP-free (EFLAGS.AC), or alignment is checked at CPL 3
#define MODE_SMM (1u << 11)
#define MODE_TS (1u << 12)       // CR0.TS: #NM on x87, MMX and SSE
#define MODE_EM (1u << 13)       // CR0.EM
#define MODE_NO_SSE (1u << 14)   // CR4.OSFXSR clear
#define MODE_IOPL (1u << 15)     // CPL <= IOPL: CLI, STI and I/O need no further check
#define MODE_ALIGN (1u << 16)    // CR0.AM && EFLAGS.AC && CPL 3: #AC on unaligned accesses
#define MODE_PARANOID (1u << 18) // every TLB hit is walked again and compared
#define MODE_UNSHARED (1u << 21) // for a translator: no access shares its check with others
#define MODE_AVX (1u << 22)      // CR4.OSXSAVE, and XCR0 has SSE and AVX
#define MODE_ONE (1u << 17)      // the block holds one instruction (interrupt shadow, end of a counted run)
// In code that is not flat: CS.limit is 0xffff, or 0xffffffff.
#define MODE_LIMIT_64K (1u << 19)
#define MODE_LIMIT_4G (1u << 20)

/// Width of the instruction pointer in a mode. In 16-bit code only branches cut it to 16 bits; running over the end of
/// 64 KiB leaves the segment (SDM vol. 3 ch. 22, segment wraparound).
static inline uint8_t mode_code_width(uint32_t mode)
{
    return (mode & MODE_CODE_MASK) == MODE_CODE64 ? WIDTH_64 : WIDTH_32;
}

/// Whether blocks of the mode can be linked, and found by the jump cache: what their code may reach is in the key.
static inline bool mode_links(uint32_t mode)
{
    return mode & (MODE_FLAT | MODE_LIMIT_64K | MODE_LIMIT_4G);
}

/// Bits of cpu->pending; any set bit must come with exit_request.
#define PENDING_INTR 0x01u // level: the INTR pin
#define PENDING_NMI 0x02u  // edge, latched
#define PENDING_SMI 0x04u
#define PENDING_INIT 0x08u
#define PENDING_RESET 0x10u
#define PENDING_STOP 0x20u // somebody wants the engine to return STOP_REQUEST
#define PENDING_MAP 0x40u  // the memory map changed

/// The world beyond the pins, as function pointers so that cpu/ knows no device. All may be NULL in tests.
struct cpu_outside {
    void *opaque;
    int (*acknowledge)(void *opaque); // INTA: vector, or -1
    uint64_t (*tsc)(void *opaque);    // host-time TSC before IA32_TSC_ADJUST
    uint64_t (*apic_base_read)(void *opaque);
    bool (*apic_base_write)(void *opaque, uint64_t value); // false: #GP
    bool (*x2apic_read)(void *opaque, uint32_t msr, uint64_t *value);
    bool (*x2apic_write)(void *opaque, uint32_t msr, uint64_t value);
    uint8_t (*tpr_read)(void *opaque); // CR8
    void (*tpr_write)(void *opaque, uint8_t value);
    uint64_t (*tsc_deadline_read)(void *opaque);
    void (*tsc_deadline_write)(void *opaque, uint64_t value);
    void (*lock)(void *opaque); // the machine lock, around port and MMIO accesses
    void (*unlock)(void *opaque);
};

struct cpu_fault {
    bool pending;
    bool has_error_code;
    bool software; // INT n, INT3, INTO: return address is after the instruction
    uint8_t vector;
    uint32_t error_code;
};

/// What holds events off until after the next instruction (SDM vol. 3 sec. 6.8.3). MOV SS also holds debug traps.
enum { SHADOW_NONE, SHADOW_STI, SHADOW_MOV_SS };

#define MONITOR_LINE_BYTES 64u

enum cpu_activity { ACTIVITY_RUN, ACTIVITY_HALT, ACTIVITY_WAIT_SIPI, ACTIVITY_SHUTDOWN, ACTIVITY_MWAIT };

#define CPU_HELPERS_MAX 128

struct cpu_model;   // model.h: which CPUID features there are
struct block_cache; // block.h
struct block;

#define JUMP_CACHE_BITS 16
#define JUMP_CACHE_HOMES (1u << JUMP_CACHE_BITS)
// An entry's home: the low bits of linear >> shift. A jump that was mispredicted waits for it, and a multiplication, or
// a fold of the higher bits, takes longer than is lost to addresses that share a home.
#define JUMP_CACHE_SHIFT 2
// Of two in use that share one, the earlier goes to the victims, behind the homes, to which a product scatters them.
// The shift there is an entry's size, so that host code needs none.
#define JUMP_VICTIM_BITS 13
#define JUMP_VICTIMS (1u << JUMP_VICTIM_BITS)
#define JUMP_VICTIM_FACTOR INT32_C(-0x61c88647)
#define JUMP_VICTIM_SHIFT 5
#define JUMP_CACHE_ENTRIES (JUMP_CACHE_HOMES + JUMP_VICTIMS)

/// The block at a linear address in a mode. Host code reads it too.
struct cpu_jump_entry {
    uint64_t linear; // block_jump_key
    struct block *block;
    _Alignas(8) uint32_t mode;
    uint32_t epoch;
    const void *chain; // where host code goes on; cpu->no_chain: in C
};

#define CPU_BOUNCE_BYTES 64u

#define DETOUR_BITS 12
#define DETOURS (1u << DETOUR_BITS)
#define DETOUR_FACTOR INT32_C(-0x61c88647)

/// Where host code goes on when accesses with one check lie on two pages: in host code of the same instructions, from
/// the one at work on, that checks each.
struct cpu_detour {
    uint64_t key;       // the block, and above it the instruction as host code tells it; 0: none
    const void *chain;  // host code
    uint64_t completed; // instructions of the block before, if they are counted
    uint64_t unused;
};

#define PAGE_SLOTS 16384u
#define PAGE_NOWHERE (UINT64_C(1) << 63 | 1) // no address of a page, nor of anything if an offset in a page is added

/// Where pages of code stand now for code of one privilege, by the slots that block.c gives to pages of the memory
/// file. Host code jumps from page to page by it: what is said of a slot held when it was said and holds in this epoch.
struct cpu_pages {
    uint64_t at[PAGE_SLOTS];    // linear address of the page, or PAGE_NOWHERE; slot 0 is no page's
    uint16_t known[PAGE_SLOTS]; // slots of the others
    uint32_t count;
    uint32_t epoch; // mmu.fetch_epoch
};

/// Bytes of stack in front of struct cpu, for host code and the C that it calls: devices and their files as well. A
/// large host page, so that the struct begins with one.
#define CPU_HOST_STACK ((size_t)2 << 20)
#define CPU_ALIGNMENT ((size_t)1 << 16) // of struct cpu, for who puts more than addresses into one

struct cpu {
    // Host code reaches the first 128 bytes with short displacements: its most frequent accesses come first.
    _Alignas(64) atomic_uint exit_request; // others set it and `pending` (pins), the vCPU polls
    int32_t guard_patience; // jumps between pages that may still find their guard wrong before one asks for a new one
    _Alignas(8) uint32_t mode; // MODE_*; this and the next are compared as one
    uint32_t jump_epoch;       // entries of the jump cache with another epoch are stale
    uint64_t code_page;        // linear address of the page of the flat block that runs
    uint64_t var[VAR_COUNT];

    _Alignas(64) atomic_uint pending;

    // Counting. instructions = retired before the running block; insn_in_block is set before any slow path.
    _Alignas(64) uint64_t instructions;
    uint64_t instruction_limit; // run() returns STOP_DEADLINE exactly here
    bool counting;              // false: `instructions` need not be exact, and there is no limit
    uint32_t insn_in_block;
    uint32_t link_epoch;      // changes when memory of blocks is used anew, where the interpreter's links may lead
    enum mmu_mode data_mode;  // for explicit data accesses in the present mode
    enum mmu_mode fetch_mode; // MMU_USER at CPL 3, else MMU_KERNEL

    struct cpu_fault fault;
    bool leave;          // leave the block after this instruction: its code changed, or a request must act now
    bool trap_cancelled; // INT n and SYSCALL: no single-step trap after this instruction
    uint8_t next_handle;
    uint8_t resident;            // RESIDENT_*: state that is in the host's registers, not here; 0 while C code runs
    uint8_t code_breakpoints;    // bit per DR0..DR3: an enabled breakpoint on execution; derived from DR7
    uint8_t port_breakpoints;    // likewise on ports
    uint32_t debug_traps;        // DR6 bits of traps to deliver at the next boundary; comes with exit_request
    struct mmu_handle handle[8]; // slow accesses of the running instruction: handle values 1..8

    // Architectural state beyond var[].
    struct segment segment[SEG_COUNT];
    struct descriptor_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4;
    uint64_t dr[8];
    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t tsc_adjust, tsc_aux, pat, misc_enable, debugctl, smbase, xcr0, xss;
    uint64_t mtrr_fixed[11], mtrr_base[8], mtrr_mask[8], mtrr_default;
    uint64_t mcg_status, mc_bank[10][4];
    uint64_t microcode;
    uint64_t spec_ctrl; // IA32_SPEC_CTRL
    enum cpu_activity activity;
    uint8_t shadow; // SHADOW_*: events are held off for the next instruction
    bool nmi_blocked;
    bool in_smm;
    uint8_t cpl;
    uint64_t monitor_address;                 // of MONITOR's line in the memory file
    bool monitor_armed;                       // nothing has happened since MONITOR that MWAIT must not sleep after
    bool mwait_breaks;                        // ACTIVITY_MWAIT: a masked interrupt ends it
    uint8_t monitor_line[MONITOR_LINE_BYTES]; // what the line held
    uint64_t random_state;                    // RDRAND, RDSEED: a generator that repeats in counting mode

    union vreg vreg[32]; // ymm0.. (0..15 are used, 32 bytes of each)
    union vreg vtemp[VREG_TEMPS];
    uint32_t mxcsr;
    struct x87 x87;
    uint8_t x87_policy; // X87_*_ON_FAULT and the like, from the model
    bool ferr;          // level of the FERR pin: an instruction waits for an x87 exception's handler
    bool ignne;         // level of the IGNNE pin: pending x87 exceptions are ignored while CR0.NE is clear

    // Machinery.
    const struct cpu_model *model;
    struct cpu_outside outside;
    struct wire ferr_out;             // FERR; driven under the machine lock
    struct address_space *memory;     // the ordinary view
    struct address_space *smm_memory; // as seen in SMM
    struct address_space *ports;
    const struct log *log;
    struct block_cache *blocks;  // one a machine
    const struct block *running; // the block that runs, or ran last in host code; NULL between blocks
    // For host code.
    /// Bytes that lie on two pages, for the load behind the look-up.
    uint8_t bounce[CPU_BOUNCE_BYTES];
    bool group_failed;           // accesses with one check straddle a page, or are not to be kept: it left for that
    struct cpu *self;            // finds the struct
    void *area;                  // of memory, that it lies in
    void *host_stack;            // C's stack pointer, while host code uses the one in front of this struct
    uint64_t host_word[6];       // what host code keeps for a moment
    uint64_t lent[VAR_R10];      // guest registers while host code uses their registers for something else
    int32_t detour_patience;     // detours until one goes by way of C, which looks whether they are too many
    struct mmu_fault walk_fault; // what the walk for host code that just left found; kind MMU_OK: nothing
    struct tick_follower tsc;    // the TSC before IA32_TSC_ADJUST by the host's ticks; who gives outside.tsc keeps it
    const void *no_chain;        // where the jump cache leads when a block has no host code
    unsigned index;              // number of this vCPU
    int32_t victim_patience;     // jumps that may find what they look for among the victims before one takes it home
    uint64_t stat_faults, stat_interrupts, stat_blocks;
    uint64_t stat_call[CPU_HELPERS_MAX]; // CALL uops executed, by enum helper
    _Alignas(CPU_ALIGNMENT) struct mmu mmu;
    struct cpu_pages pages[2]; // for supervisor and user code
    struct cpu_detour detour[DETOURS];
    struct cpu_jump_entry jump_cache[JUMP_CACHE_ENTRIES];
};

// ---- cpu.c ------------------------------------------------------------------------------------------------------
struct cpu_config {
    const struct cpu_model *model;
    struct address_space *memory, *smm_memory, *ports;
    struct cpu_outside outside;
    struct wire ferr;           // the FERR pin
    struct block_cache *blocks; // shared by the machine's vCPUs
    const struct log *log;
    unsigned index;
};
struct cpu *cpu_create(const struct cpu_config *config, struct error *error);
void cpu_destroy(struct cpu *cpu);
/// Power-on reset, SDM vol. 3 table 10-1. `init`: INIT keeps caches, FPU/SSE state and MTRRs.
void cpu_reset(struct cpu *cpu, bool init);
extern const struct state_table cpu_state_table;

/// ACTIVITY_MWAIT: something has happened that ends it, other than an event that is delivered. The vCPU looks at its
/// line when it is polled; who lets it sleep polls it now and then.
bool cpu_mwait_ends(const struct cpu *cpu);
/// The page of code with this slot (block.h) stands at `linear` for code of the present privilege, as a fetch found in
/// the present epoch. Slot 0: nothing.
void cpu_note_page(struct cpu *cpu, unsigned slot, uint64_t linear);
/// No page stands anywhere.
void cpu_forget_pages(struct cpu *cpu);
/// Pins; any thread.
void cpu_set_pending(struct cpu *cpu, uint32_t bits);
void cpu_clear_pending(struct cpu *cpu, uint32_t bits);
/// The IGNNE pin; with the machine lock held, on the vCPU's thread or while it is parked.
void cpu_set_ignne(struct cpu *cpu, bool level);

/// The six flags from the recipe, and whole RFLAGS.
uint64_t cpu_flags_arithmetic(const struct cpu *cpu);
uint64_t cpu_rflags(const struct cpu *cpu);
/// Replaces RFLAGS (all defined bits, bit 1 set); the caller has masked by privilege. Calls cpu_update_mode.
void cpu_set_rflags(struct cpu *cpu, uint64_t rflags);
/// Sets the recipe to the literal six flags of `flags`.
static inline void cpu_set_flags_literal(struct cpu *cpu, uint64_t flags)
{
    cpu->var[VAR_CC_OP] = CC_LITERAL << 2;
    cpu->var[VAR_CC_EXTRA] = flags & FLAGS_ARITHMETIC;
}
/// Brings representation-only differences away (flags recipe, dead slots): before hashing, saving, comparing.
void cpu_normalize(struct cpu *cpu);
/// Blocks die or moved: nothing that a jump cache knows holds any more.
void cpu_drop_jump_cache(struct cpu *cpu);
/// ... of blocks whose descriptors lie in [from, to): they are gone.
void cpu_drop_jumps_to_blocks(struct cpu *cpu, const void *from, const void *to);
/// ... of where host code in [from, to) was; the blocks remain known.
void cpu_drop_jumps_to_code(struct cpu *cpu, const void *from, const void *to);
/// Recomputes mode, data_mode, fetch_mode from state. After any change of CS, SS, CR0, CR4, EFER, RFLAGS, CPL, SMM.
void cpu_update_mode(struct cpu *cpu);
/// Tells the MMU of control registers after a change of CR0, CR3, CR4, EFER.
void cpu_update_paging(struct cpu *cpu, bool cr3_written);

/// Requests a fault of the running instruction: executors deliver it after the helper returns, with RIP at the
/// instruction's start. Returns 0 so that `return cpu_raise(...)` works in helpers. The first fault wins.
static inline uint64_t cpu_raise(struct cpu *cpu, uint8_t vector)
{
    if (!cpu->fault.pending)
        cpu->fault = (struct cpu_fault){.pending = true, .vector = vector};
    return 0;
}
static inline uint64_t cpu_raise_error(struct cpu *cpu, uint8_t vector, uint32_t error_code)
{
    if (!cpu->fault.pending)
        cpu->fault =
            (struct cpu_fault){.pending = true, .vector = vector, .has_error_code = true, .error_code = error_code};
    return 0;
}
/// From a failed MMU access: #PF (sets CR2 now), or #GP(0)/#SS(0) when not canonical.
static inline uint64_t cpu_raise_mmu(struct cpu *cpu, const struct mmu_fault *fault, bool stack)
{
    if (fault->kind == MMU_NON_CANONICAL)
        return cpu_raise_error(cpu, stack ? VECTOR_SS : VECTOR_GP, 0);
    if (!cpu->fault.pending)
        cpu->cr2 = fault->linear;
    return cpu_raise_error(cpu, VECTOR_PF, fault->error_code);
}

static inline union vreg *cpu_vreg(struct cpu *cpu, unsigned number)
{
    if (number < VREG_TEMP)
        return &cpu->vreg[number];
    if (number < VREG_MM)
        return &cpu->vtemp[number & (VREG_TEMPS - 1)];
    return (union vreg *)&cpu->x87.reg[number & 7];
}
/// Writes a variable at a width (WIDTH_*): 8 and 16 bits merge, 32 zero-extend.
static inline void cpu_write_var(struct cpu *cpu, unsigned var, unsigned width, uint64_t value)
{
    uint64_t mask = bits_mask(8u << width);
    uint64_t kept = width < WIDTH_32 ? cpu->var[var] & ~mask : 0;
    cpu->var[var] = kept | (value & mask);
}
/// Bases of ES..GS live in var[].
static inline uint64_t cpu_segment_base(const struct cpu *cpu, unsigned segment)
{
    return segment < SEG_LDTR ? cpu->var[VAR_ES_BASE + segment] : cpu->segment[segment].base;
}
static inline void cpu_set_segment_base(struct cpu *cpu, unsigned segment, uint64_t base)
{
    cpu->segment[segment].base = segment < SEG_LDTR ? 0 : base;
    if (segment < SEG_LDTR)
        cpu->var[VAR_ES_BASE + segment] = base;
}

// ---- deliver.c (privileged machinery) --------------------------------------------------------------------------
/// Delivers cpu->fault through the IDT at RIP = var[VAR_RIP] (already that of the faulting instruction), with
/// contributory/double/triple fault rules (SDM vol. 3 sec. 6.15); a triple fault sets ACTIVITY_SHUTDOWN.
void cpu_deliver_fault(struct cpu *cpu);
/// Delivers an external interrupt or NMI between instructions.
void cpu_deliver_interrupt(struct cpu *cpu, uint8_t vector);
/// SMI entry (SDM vol. 3 ch. 31), INIT.
void cpu_enter_smm(struct cpu *cpu);

// ---- state access for tests, monitor, loaders ------------------------------------------------------------------
/// Prints registers as QEMU's "info registers" lays them out.
void cpu_print(const struct cpu *cpu, FILE *to);
/// Runs length/decode/translate-free memory peeks at linear addresses, for the monitor; false: not mapped.
bool cpu_debug_read(struct cpu *cpu, uint64_t linear, void *bytes, unsigned length);

#endif
