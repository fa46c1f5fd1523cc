// Host code under review: how many host instructions and bytes the frequent guest instructions and some loops cost,
// compared with what is checked in (tests/translate/golden). A change there shows what a commit does to the code.
//
// translate_golden_test [--update]
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "cpu/model.h"
#include "cpu/row.h"
#include "support_guest.h"
#include "translate/translate.h"

#define FOLDER "tests/translate/golden/"
#define MAX_BLOCKS 16
#define SHOWN 10                    // lines that differ
#define PLAIN (GUEST_DATA + 0xa000) // pages without tricks

/// The hundred most frequent forms of instructions of a boot of Debian to user space, 97 % of what it executes; the
/// most frequent first, with the operands seen most.
static const char *const instructions[] = {
    "4889c8",
    "4c01e8",
    "490fafc1",
    "48c1e920",
    "4839f0",
    "89c9",
    "0f857bffffff",
    "4c29e0",
    "4183c001",
    "0f8496000000",
    "4963c0",
    "4883c001",
    "4c8b2f",
    "4c892f",
    "400fb6f6",
    "400f92c6",
    "49c1e520",
    "488b0cc3",
    "490f43d6",
    "488d3cc500000000",
    "4811ce",
    "53",
    "5b",
    "488b4101",
    "eb95",
    "31c0",
    "84d2",
    "72ec",
    "0fb610",
    "c3",
    "e83780ffff",
    "39cf",
    "85c0",
    "48894208",
    "4883fe0f",
    "0fb65001",
    "0f1f440000",
    "73ce",
    "83f808",
    "49030424",
    "488d6901",
    "488d141f",
    "790f",
    "83e60f",
    "480304fa",
    "3c5c",
    "488972f8",
    "7759",
    "8b542418",
    "0f868c000000",
    "4885c0",
    "ba01000000",
    "4d8904f9",
    "4883d000",
    "488d1496",
    "f6818098d1b007",
    "c1e804",
    "0fb74310",
    "4883ee01",
    "29ce",
    "48c1f902",
    "48bb0000000001000000",
    "807f0400",
    "488d7c3204",
    "4809d0",
    "803800",
    "4101e8",
    "0fb60c07",
    "41895548",
    "66894210",
    "440fb759fe",
    "8811",
    "40f6c710",
    "48c7c3ffffffff",
    "3a0c06",
    "f7df",
    "83ea30",
    "4821c2",
    "48d3e8",
    "48630a",
    "41c6405004",
    "4a89042b",
    "488d7afc",
    "8d4e08",
    "8b0e",
    "48d3e7",
    "48c744240800000000",
    "21c5",
    "48f7d1",
    "44396c2404",
    "4883e0fc",
    "498b0404",
    "48030d98340101",
    "0f1f00",
    "65488b042528000000",
    "488b0510d1bf01",
    "6690",
    "8d57f4",
    "41c1c407",
    "48f7742420",
};

struct loop {
    const char *name, *what;
    const char *code; // in hexadecimal; the listing in the golden file is its source
    bool uncounted;
};

static const struct loop loops[] = {
    {"sum", "adds 8-byte numbers", "480304cf48ffc14839d175f4"},
    {"copy", "a byte at a time", "8a040e88040f48ffc14839d175f2"},
    {"strlen", "up to the zero", "803c0f00488d490175f6"},
    {"hash", "FNV-1a over bytes", "0fb60f31c869c09301000148ffc748ffca75ed"},
    {"list", "follows pointers", "488b3f48ffc04885ff75f5"},
    {"call", "calls a function with a frame", "e805000000ffca75f7f4554889e583c0015dc3"},
    {"partition", "the inner loop of qsort, with its swap",
     "8b048f4439c07d0e448b0c9f89049f44890c8f48ffc348ffc14839d175e2"},
    {"double", "adds products of double precision", "f20f1004cff20f5904cef20f58c848ffc14839d175ea"},
    {"bytes", "looks for a zero, 16 bytes at a time", "660fefc9f30f6f040f660f74c1660fd7c04883c11085c074eb"},
    {"bytes32", "looks for a zero, 32 bytes at a time", "c5f1efc9c5f574040fc5fdd7c04883c12085c074ef"},
    {"recursion", "a function that calls itself; instructions are not counted", "e801000000f453ffca7405e8f6ffffff5bc3",
     .uncounted = true},
    {"string", "REP MOVSB", "b964000000f3a4"},
    {"parts", "flags of one part that die in the next; instructions are not counted", "c1c90231c8fecb740601c889d1ebf1",
     .uncounted = true},
};

// ---- translating ------------------------------------------------------------------------------------------------
struct cost {
    unsigned guest, offset; // instructions of the block, its place in the code
    unsigned host, host_straight;
    size_t bytes, bytes_straight;
};

struct made {
    struct guest guest;
    ZydisDecoder decoder;
    struct cost block[MAX_BLOCKS];
    unsigned count;
};

static unsigned count_instructions(const struct made *made, const uint8_t *code, size_t size)
{
    ZydisDecodedInstruction insn;
    unsigned count = 0;
    for (size_t at = 0; at < size; at += insn.length, count++) {
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&made->decoder, NULL, code + at, size - at, &insn))) {
            fprintf(stderr, "host code that Zydis cannot decode\n");
            exit(1);
        }
    }
    return count;
}

static void note(void *opaque, const struct block *block, const uint8_t *code, size_t straight, size_t size)
{
    struct made *made = opaque;
    if (made->count == MAX_BLOCKS)
        return;
    made->block[made->count++] = (struct cost){
        .guest = block->insn_count,
        .offset = (unsigned)(block_linear(made->guest.cpu) - GUEST_CODE),
        .host = count_instructions(made, code, size),
        .host_straight = count_instructions(made, code, straight),
        .bytes = size,
        .bytes_straight = straight,
    };
}

/// Everything plain: registers point to RAM, counters are small.
static void set_registers(struct guest *g)
{
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++)
        g->cpu->var[i] = PLAIN + i * 0x80;
    g->cpu->var[VAR_RSP] = GUEST_STACK;
    g->cpu->var[VAR_RCX] = 0;
    g->cpu->var[VAR_RDX] = 40;
    g->cpu->var[VAR_RSI] = PLAIN + 0x1000;
    g->cpu->var[VAR_RDI] = PLAIN;
    // A list, and a string of 24 characters.
    for (uint64_t i = 0; i < 32; i++) {
        uint64_t next = i == 31 ? 0 : PLAIN + (i + 1) * 8;
        guest_load(g, PLAIN + i * 8, &next, 8);
    }
}

static unsigned bytes_of(const char *text, uint8_t *bytes)
{
    unsigned count = 0;
    for (; *text; text += 2) {
        char digits[3] = {text[0], text[1], 0};
        bytes[count++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return count;
}

/// The blocks of `size` bytes of code that is run for up to `count` instructions, in blocks of at most `length`.
static void run_code(struct made *made, const uint8_t *code, unsigned size, unsigned length, uint64_t count)
{
    struct guest *g = &made->guest;
    guest_reset(g, GUEST_64_CPL0, 1);
    block_cache_set_length(g->blocks, length);
    guest_load(g, GUEST_CODE, code, size);
    set_registers(g);
    made->count = 0;
    guest_run(g, count);
}

static const char *text_of(struct made *made, const uint8_t *code, unsigned size, uint64_t offset, unsigned *length)
{
    static char text[128];
    struct insn insn;
    struct guest *g = &made->guest;
    uint32_t mode = MODE_CODE64 | MODE_FLAT | MODE_PROTECTED | MODE_LONG;
    if (decode(block_cache_rows(g->blocks), &g->model, mode, code, size, &insn) != DECODE_OK) {
        fprintf(stderr, "code that cannot be decoded at %" PRIx64 "\n", offset);
        exit(1);
    }
    *length = insn.length;
    disassemble(&insn, offset, text, sizeof text);
    return text;
}

// ---- printing -----------------------------------------------------------------------------------------------------
static void print_instruction(struct made *made, const char *hex, FILE *out)
{
    uint8_t code[64];
    unsigned size = bytes_of(hex, code), length;
    struct cost one, two = {0};
    run_code(made, code, size, 1, 1);
    if (!made->count) {
        fprintf(out, "interpreted              %-18s %s\n", hex, text_of(made, code, size, 0, &length));
        return;
    }
    one = made->block[0];
    // Twice the same in a block: what one more costs.
    memcpy(code + size, code, size);
    run_code(made, code, 2 * size, 2, 2);
    if (made->count && made->block[0].guest == 2)
        two = made->block[0];
    fprintf(out, "%4u %4zu ", one.host_straight, one.bytes_straight);
    if (two.guest)
        fprintf(out, "%5d %4d", (int)two.host_straight - (int)one.host_straight,
                (int)two.bytes_straight - (int)one.bytes_straight);
    else
        fprintf(out, "    -    -");
    fprintf(out, " %4zu   %-18s %s\n", one.bytes - one.bytes_straight, hex, text_of(made, code, size, 0, &length));
}

static void print_instructions(struct made *made, FILE *out)
{
    fprintf(out,
            "# Host code of the frequent instructions; ./dev golden makes this file.\n"
            "# A block of one: host instructions and bytes of the way through; one more in the same block: likewise;\n"
            "# bytes out of line of the block of one.\n");
    for (unsigned i = 0; i < ARRAY_SIZE(instructions); i++)
        print_instruction(made, instructions[i], out);
}

static void print_loop(struct made *made, const struct loop *loop, FILE *out)
{
    uint8_t code[128];
    unsigned size = bytes_of(loop->code, code), length;
    fprintf(out, "\n%s: %s\n", loop->name, loop->what);
    for (unsigned at = 0; at < size; at += length)
        fprintf(out, "    %02x %s\n", at, text_of(made, code + at, size - at, at, &length));
    made->guest.cpu->counting = !loop->uncounted;
    run_code(made, code, size, BLOCK_MAX_INSNS, 100);
    made->guest.cpu->counting = true;
    for (unsigned i = 0; i < made->count; i++) {
        const struct cost *c = &made->block[i];
        if (c->offset < size && code[c->offset] != 0xf4)
            fprintf(
                out,
                "  block at %02x: %u instructions, %u host instructions, %zu bytes, %.1f each; %zu bytes out of line\n",
                c->offset, c->guest, c->host_straight, c->bytes_straight, (double)c->host_straight / c->guest,
                c->bytes - c->bytes_straight);
    }
}

static void print_loops(struct made *made, FILE *out)
{
    fprintf(out, "# Host code of small loops, by the blocks that they become; ./dev golden makes this file.\n");
    for (unsigned i = 0; i < ARRAY_SIZE(loops); i++)
        print_loop(made, &loops[i], out);
}

// ---- comparing ------------------------------------------------------------------------------------------------------
static bool update(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool good = file && fputs(text, file) >= 0;
    if (file)
        fclose(file);
    printf("%s %s\n", good ? "wrote" : "cannot write", path);
    return good;
}

/// Line by line; shows the first lines that differ.
static bool same(const char *path, const char *text)
{
    char line[512];
    unsigned different = 0;
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("%s is missing\n", path);
        return false;
    }
    while (fgets(line, sizeof line, file) || *text) {
        size_t length = strcspn(text, "\n") + (strchr(text, '\n') != NULL);
        if (feof(file))
            line[0] = 0;
        if ((strlen(line) != length || memcmp(line, text, length)) && ++different <= SHOWN)
            printf("%s:\n  - %s%s  + %.*s%s", path, line, line[0] ? "" : "\n", (int)length, text, length ? "" : "\n");
        text += length;
    }
    fclose(file);
    if (different > SHOWN)
        printf("... and %u more lines\n", different - SHOWN);
    return !different;
}

static bool check(struct made *made, const char *path, void (*print)(struct made *, FILE *), bool write)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    print(made, out);
    fclose(out);
    bool good = write ? update(path, text) : same(path, text);
    free(text);
    return good;
}

/// The files are of a host that has what the backend can use.
static bool host_has_all(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

int main(int argc, char **argv)
{
    static struct made made;
    struct translate_hooks hooks = {.made = note, .opaque = &made};
    bool write = argc > 1 && !strcmp(argv[1], "--update");
    if (!translate_available() || !host_has_all())
        return 77;
    ZydisDecoderInit(&made.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    guest_start(&made.guest, &engine_jit);
    translate_set_threshold(made.guest.state, 0);
    translate_set_hooks(made.guest.state, &hooks);
    bool good = check(&made, FOLDER "instructions.txt", print_instructions, write);
    good &= check(&made, FOLDER "loops.txt", print_loops, write);
    guest_end(&made.guest);
    if (!good && !write)
        printf("if that is as it should be: ./dev golden\n");
    return good ? 0 : 1;
}
