// See linux_loader.h. Nothing in a kernel's header is believed before it is checked against the file's size and the
// machine's memory.
#include "frontend/linux_loader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/host.h"
#include "frontend/linuxboot_rom.h"
#include "frontend/machine.h"

#define KERNEL_FILE_LIMIT ((size_t)1 << 30)
#define INITRD_FILE_LIMIT ((size_t)4 << 30)
#define COMMAND_LINE_LIMIT 65536

// Fields of the setup header, offsets in the file (boot.rst, "The Real-Mode Kernel Header").
enum {
    HEADER_SETUP_SECTS = 0x1f1, // u8
    HEADER_SYSSIZE = 0x1f4,     // u32, in 16 bytes
    HEADER_BOOT_FLAG = 0x1fe,   // u16, 0xaa55
    HEADER_JUMP = 0x200,        // u16; its second byte is the header's length after 0x202
    HEADER_MAGIC = 0x202,       // "HdrS"
    HEADER_VERSION = 0x206,     // u16
    HEADER_TYPE_OF_LOADER = 0x210,
    HEADER_LOADFLAGS = 0x211, // bit 0: protected-mode code at 1 MiB; bit 7: heap_end_ptr is valid
    HEADER_CODE32_START = 0x214,
    HEADER_RAMDISK_IMAGE = 0x218,
    HEADER_RAMDISK_SIZE = 0x21c,
    HEADER_HEAP_END_PTR = 0x224,
    HEADER_CMD_LINE_PTR = 0x228,
    HEADER_INITRD_ADDR_MAX = 0x22c,
    HEADER_RELOCATABLE = 0x234,    // u8, 2.05
    HEADER_XLOADFLAGS = 0x236,     // u16, 2.12; bit 0: 64-bit entry at 0x200
    HEADER_CMDLINE_SIZE = 0x238,   // u32, 2.06
    HEADER_PAYLOAD_OFFSET = 0x248, // u32, 2.08
    HEADER_PAYLOAD_LENGTH = 0x24c,
    HEADER_PREF_ADDRESS = 0x258, // u64, 2.10
    HEADER_INIT_SIZE = 0x260,    // u32, 2.10
    HEADER_SMALLEST = 0x268,
};

// Fields of boot_params (zero page) beside the header.
enum {
    PARAMS_ACPI_RSDP = 0x070, // u64
    PARAMS_E820_COUNT = 0x1e8,
    PARAMS_E820_TABLE = 0x2d0, // entries of 20 bytes
    PARAMS_E820_MAX = 128,
    PARAMS_SIZE = 4096,
};

// Where things go below 640 KiB. Nothing else is there without firmware.
#define GDT_ADDRESS 0x8000
#define STACK_ADDRESS 0x8ff0
#define PARAMS_ADDRESS 0x10000
#define COMMAND_LINE_ADDRESS 0x20000
#define PAGE_TABLES_ADDRESS 0x40000 // PML4, PDPT, four page directories: 4 GiB by 2 MiB pages
#define KERNEL_ADDRESS 0x100000

#define BOOT_CS 0x10 // the selectors that the boot protocol asks for
#define BOOT_DS 0x18

static bool check_header(struct linux_image *image, uint32_t *command_line_limit, struct error *error)
{
    const uint8_t *file = image->kernel;
    if (image->kernel_size < HEADER_SMALLEST || load_le16(file + HEADER_BOOT_FLAG) != 0xaa55 ||
        memcmp(file + HEADER_MAGIC, "HdrS", 4))
        return error_set(error, "it is not a Linux kernel image (bzImage)");
    image->protocol = load_le16(file + HEADER_VERSION);
    if (image->protocol < 0x206)
        return error_set(error, "its boot protocol is %u.%02u; 2.06 or later is needed", image->protocol >> 8,
                         image->protocol & 0xff);
    if (!(file[HEADER_LOADFLAGS] & 1))
        return error_set(error, "it is a zImage (loaded below 1 MiB), which is not supported");
    unsigned sectors = file[HEADER_SETUP_SECTS] ? file[HEADER_SETUP_SECTS] : 4;
    image->setup_size = (sectors + 1) * 512;
    uint64_t expected = image->setup_size + (uint64_t)load_le32(file + HEADER_SYSSIZE) * 16;
    // The size is counted in 16 bytes: an image may end up to 15 bytes early.
    if (image->kernel_size <= image->setup_size || image->kernel_size + 15 < expected)
        return error_set(error, "it is truncated: %zu bytes instead of %" PRIu64, image->kernel_size, expected);
    *command_line_limit = load_le32(file + HEADER_CMDLINE_SIZE);
    return true;
}

/// The parts of the header that came with later protocols.
static bool check_later_header(struct linux_image *image, struct error *error)
{
    const uint8_t *file = image->kernel;
    uint64_t kernel_size = image->kernel_size - image->setup_size;
    image->load_address = KERNEL_ADDRESS;
    image->initrd_limit = load_le32(file + HEADER_INITRD_ADDR_MAX);
    if (image->initrd_limit < KERNEL_ADDRESS)
        return error_set(error, "it is damaged (highest initrd address 0x%" PRIx64 ")", image->initrd_limit);
    image->entry64 = image->protocol >= 0x20c && load_le16(file + HEADER_XLOADFLAGS) & 1 && kernel_size > 0x200;
    image->memory_needed = image->load_address + kernel_size;
    if (image->protocol >= 0x208) {
        uint64_t payload = load_le32(file + HEADER_PAYLOAD_OFFSET), length = load_le32(file + HEADER_PAYLOAD_LENGTH);
        if (payload > kernel_size || length > kernel_size - payload)
            return error_set(error, "it is damaged (its payload lies outside the file)");
    }
    if (image->protocol >= 0x20a) {
        uint64_t preferred = load_le64(file + HEADER_PREF_ADDRESS), size = load_le32(file + HEADER_INIT_SIZE);
        if (preferred >= UINT64_C(1) << 32)
            return error_set(error, "it is damaged (preferred address 0x%" PRIx64 ")", preferred);
        if (preferred < image->load_address)
            preferred = image->load_address;
        if (preferred + size > image->memory_needed)
            image->memory_needed = preferred + size;
    }
    return true;
}

static bool check_image(struct linux_image *image, struct error *error)
{
    uint32_t command_line_limit = 0;
    if (!check_header(image, &command_line_limit, error) || !check_later_header(image, error))
        return error_prefix(error, "kernel %s", image->name);
    size_t length = strlen(image->command_line);
    if (length > command_line_limit || length >= COMMAND_LINE_LIMIT)
        return error_set(error, "the command line has %zu characters; this kernel takes %" PRIu32, length,
                         command_line_limit);
    return true;
}

bool linux_image_read(struct linux_image *image, const char *kernel_path, const char *initrd_path,
                      const char *command_line, struct error *error)
{
    *image = (struct linux_image){0};
    snprintf(image->name, sizeof image->name, "%s", kernel_path);
    image->command_line = strdup(command_line ? command_line : "");
    bool good = image->command_line || error_set(error, "out of memory");
    if (good) {
        image->kernel = host_file_read(kernel_path, KERNEL_FILE_LIMIT, &image->kernel_size, error);
        good = image->kernel || error_prefix(error, "cannot read the kernel");
    }
    good = good && check_image(image, error);
    if (good && initrd_path && initrd_path[0]) {
        image->initrd = host_file_read(initrd_path, INITRD_FILE_LIMIT, &image->initrd_size, error);
        good = image->initrd || error_prefix(error, "cannot read the initrd");
        if (good && !image->initrd_size)
            good = error_set(error, "the initrd %s is empty", initrd_path);
    }
    if (!good)
        linux_image_free(image);
    return good;
}

static uint8_t *copy_bytes(const void *bytes, size_t size)
{
    uint8_t *copy = calloc(1, size ? size : 1);
    if (copy && size)
        memcpy(copy, bytes, size);
    return copy;
}

bool linux_image_set(struct linux_image *image, const char *name, const void *kernel, size_t kernel_size,
                     const void *initrd, size_t initrd_size, const char *command_line, struct error *error)
{
    *image = (struct linux_image){.kernel_size = kernel_size, .initrd_size = initrd ? initrd_size : 0};
    snprintf(image->name, sizeof image->name, "%s", name);
    image->kernel = copy_bytes(kernel, kernel_size);
    image->initrd = initrd ? copy_bytes(initrd, initrd_size) : NULL;
    image->command_line = strdup(command_line ? command_line : "");
    bool good = image->kernel && image->command_line && (!initrd || image->initrd);
    if (!good)
        error_set(error, "out of memory");
    good = good && check_image(image, error);
    if (!good)
        linux_image_free(image);
    return good;
}

void linux_image_free(struct linux_image *image)
{
    free(image->kernel);
    free(image->initrd);
    free(image->command_line);
    *image = (struct linux_image){0};
}

#define PCI_HOLE_START UINT64_C(0xc0000000)
#define TABLES_ROOM UINT64_C(0x40000) // ACPI tables below the top of low RAM

static uint64_t initrd_place(const struct linux_image *image, uint64_t top)
{
    if (top > image->initrd_limit + 1)
        top = image->initrd_limit + 1;
    return image->initrd_size > top ? 0 : align_down(top - image->initrd_size, PAGE_SIZE);
}

static bool check_fit(const struct linux_image *image, uint64_t top, uint64_t ram_size, struct error *error)
{
    if (image->memory_needed > top)
        return error_set(error, "kernel %s needs %" PRIu64 " MiB of RAM, the machine has %" PRIu64 " (use a larger -m)",
                         image->name, (image->memory_needed + TABLES_ROOM + 0xfffff) >> 20, ram_size >> 20);
    if (!image->initrd_size)
        return true;
    uint64_t place = initrd_place(image, top);
    if (place < image->memory_needed)
        return error_set(error,
                         "the initrd of %zu KiB does not fit between the kernel's end (%" PRIu64 " KiB) and %" PRIu64
                         " KiB; use a larger -m or a smaller initrd",
                         image->initrd_size >> 10, image->memory_needed >> 10,
                         (top < image->initrd_limit ? top : image->initrd_limit) >> 10);
    return true;
}

bool linux_image_fits(const struct linux_image *image, uint64_t ram_size, struct error *error)
{
    uint64_t top = ram_size < PCI_HOLE_START ? ram_size : PCI_HOLE_START;
    return check_fit(image, top > TABLES_ROOM ? top - TABLES_ROOM : 0, ram_size, error);
}

/// Boot parameters: the header as it is in the file, and what a loader fills in.
static void make_params(const struct linux_image *image, struct machine *machine, uint64_t rsdp, uint64_t initrd,
                        const struct pc_e820_entry *map, unsigned map_count, uint8_t *params)
{
    const uint8_t *file = image->kernel;
    size_t header_end = HEADER_MAGIC + file[HEADER_JUMP + 1];
    if (header_end < HEADER_SMALLEST)
        header_end = HEADER_SMALLEST;
    memset(params, 0, PARAMS_SIZE);
    memcpy(params + HEADER_SETUP_SECTS, file + HEADER_SETUP_SECTS,
           (header_end < image->setup_size ? header_end : image->setup_size) - HEADER_SETUP_SECTS);
    params[HEADER_TYPE_OF_LOADER] = 0xff; // no assigned number
    store_le32(params + HEADER_CODE32_START, (uint32_t)image->load_address);
    store_le32(params + HEADER_CMD_LINE_PTR, COMMAND_LINE_ADDRESS);
    if (image->initrd_size) {
        store_le32(params + HEADER_RAMDISK_IMAGE, (uint32_t)initrd);
        store_le32(params + HEADER_RAMDISK_SIZE, (uint32_t)image->initrd_size);
    }
    store_le64(params + PARAMS_ACPI_RSDP, rsdp);
    params[PARAMS_E820_COUNT] = (uint8_t)map_count;
    for (unsigned i = 0; i < map_count; i++) {
        uint8_t *entry = params + PARAMS_E820_TABLE + 20 * i;
        store_le64(entry, map[i].start);
        store_le64(entry + 8, map[i].size);
        store_le32(entry + 16, map[i].type);
    }
}

static void write_guest(struct machine *machine, uint64_t address, const void *bytes, uint64_t length)
{
    address_space_write_bytes(&machine->memory_space, address, bytes, length, false);
}

static void write_page_tables(struct machine *machine)
{
    uint8_t page[PAGE_SIZE] = {0};
    store_le64(page, (PAGE_TABLES_ADDRESS + PAGE_SIZE) | 3);
    write_guest(machine, PAGE_TABLES_ADDRESS, page, sizeof page);
    for (unsigned i = 0; i < 4; i++)
        store_le64(page + 8 * i, (PAGE_TABLES_ADDRESS + (2 + i) * PAGE_SIZE) | 3);
    write_guest(machine, PAGE_TABLES_ADDRESS + PAGE_SIZE, page, sizeof page);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned j = 0; j < 512; j++)
            store_le64(page + 8 * j, ((uint64_t)i << 30 | (uint64_t)j << 21) | 0x83); // present, writable, large
        write_guest(machine, PAGE_TABLES_ADDRESS + (2 + i) * PAGE_SIZE, page, sizeof page);
    }
}

static void set_segment(struct cpu *cpu, unsigned number, uint16_t selector, uint32_t rights)
{
    cpu->segment[number].selector = selector;
    cpu->segment[number].rights = rights;
    cpu->segment[number].limit = UINT32_MAX;
    cpu_set_segment_base(cpu, number, 0);
}

/// Descriptor of a flat 4 GiB segment with these rights (bits as struct segment has them).
static uint64_t flat_descriptor(uint32_t rights)
{
    return UINT64_C(0x000f00000000ffff) | (uint64_t)rights << 40;
}

#define RIGHTS_CODE64 (SEGMENT_G | SEGMENT_L | SEGMENT_P | SEGMENT_S | 0xb)
#define RIGHTS_CODE32 (SEGMENT_G | SEGMENT_DB | SEGMENT_P | SEGMENT_S | 0xb)
#define RIGHTS_DATA (SEGMENT_G | SEGMENT_DB | SEGMENT_P | SEGMENT_S | 0x3)

/// Entry state of boot.rst, "64-bit Boot Protocol" and "32-bit Boot Protocol".
static void set_cpu(const struct linux_image *image, struct machine *machine)
{
    struct cpu *cpu = machine->cpu;
    uint32_t code = image->entry64 ? RIGHTS_CODE64 : RIGHTS_CODE32;
    uint8_t gdt[32] = {0};
    store_le64(gdt + BOOT_CS, flat_descriptor(code));
    store_le64(gdt + BOOT_DS, flat_descriptor(RIGHTS_DATA));
    write_guest(machine, GDT_ADDRESS, gdt, sizeof gdt);
    cpu->gdt = (struct descriptor_table){GDT_ADDRESS, sizeof gdt - 1};
    cpu->idt = (struct descriptor_table){0, 0};
    set_segment(cpu, SEG_CS, BOOT_CS, code);
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        if (i != SEG_CS)
            set_segment(cpu, i, BOOT_DS, RIGHTS_DATA);
    cpu->cpl = 0;
    cpu->cr0 = CR0_PE | CR0_ET;
    cpu->mtrr_default = 0xc06; // write-back, fixed and variable ranges on: as firmware leaves it
    if (image->entry64) {
        write_page_tables(machine);
        cpu->cr3 = PAGE_TABLES_ADDRESS;
        cpu->cr4 = CR4_PAE;
        cpu->efer = EFER_LME | EFER_LMA;
        cpu->cr0 |= CR0_PG;
    }
    for (unsigned i = VAR_RAX; i <= VAR_R15; i++)
        cpu->var[i] = 0;
    cpu->var[VAR_RSP] = STACK_ADDRESS;
    cpu->var[VAR_RSI] = PARAMS_ADDRESS;
    cpu->var[VAR_RIP] = image->load_address + (image->entry64 ? 0x200 : 0);
    cpu_set_rflags(cpu, 2);
    cpu_update_mode(cpu);
    cpu_update_paging(cpu, true);
}

/// End of the RAM below 4 GiB that the initrd can use.
static uint64_t usable_top(const struct linux_image *image, const struct pc_e820_entry *map, unsigned count)
{
    uint64_t top = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t end = map[i].start + map[i].size;
        if (map[i].type == 1 && map[i].start <= KERNEL_ADDRESS && end > KERNEL_ADDRESS && end > top)
            top = end;
    }
    return top > UINT64_C(1) << 32 ? UINT64_C(1) << 32 : top;
}

bool linux_boot_direct(void *opaque, struct machine *machine, struct error *error)
{
    const struct linux_image *image = opaque;
    struct pc_e820_entry map[PARAMS_E820_MAX];
    uint8_t params[PARAMS_SIZE];
    uint64_t rsdp = 0;
    if (image->entry64 && !model_has(&machine->config.model, FEATURE_LM))
        return error_set(error, "kernel %s is a 64-bit kernel, and the CPU model %s has no long mode", image->name,
                         machine->config.model.name);
    pc_prepare_direct_boot(machine->pc);
    if (!pc_install_tables(machine->pc, &rsdp, error))
        return false;
    unsigned count = pc_e820(machine->pc, map, PARAMS_E820_MAX);
    uint64_t top = usable_top(image, map, count);
    if (!check_fit(image, top, machine->config.ram_size, error))
        return false;
    uint64_t initrd = image->initrd_size ? initrd_place(image, top) : 0;
    make_params(image, machine, rsdp, initrd, map, count, params);
    write_guest(machine, PARAMS_ADDRESS, params, sizeof params);
    write_guest(machine, COMMAND_LINE_ADDRESS, image->command_line, strlen(image->command_line) + 1);
    write_guest(machine, image->load_address, image->kernel + image->setup_size,
                image->kernel_size - image->setup_size);
    if (image->initrd_size)
        write_guest(machine, initrd, image->initrd, image->initrd_size);
    set_cpu(image, machine);
    return true;
}

// ---- through the firmware ---------------------------------------------------------------------------------------

// fw_cfg items, by QEMU's numbers.
enum {
    ITEM_KERNEL_ADDRESS = 0x07,
    ITEM_KERNEL_SIZE = 0x08,
    ITEM_INITRD_ADDRESS = 0x0a,
    ITEM_INITRD_SIZE = 0x0b,
    ITEM_KERNEL_ENTRY = 0x10,
    ITEM_KERNEL_DATA = 0x11,
    ITEM_INITRD_DATA = 0x12,
    ITEM_COMMAND_LINE_ADDRESS = 0x13,
    ITEM_COMMAND_LINE_SIZE = 0x14,
    ITEM_COMMAND_LINE_DATA = 0x15,
    ITEM_SETUP_ADDRESS = 0x16,
    ITEM_SETUP_SIZE = 0x17,
    ITEM_SETUP_DATA = 0x18,
};

// The real-mode layout that boot.rst recommends: setup code, its heap and stack, command line.
#define SETUP_ADDRESS 0x10000
#define SETUP_HEAP_END 0xe000
#define SETUP_COMMAND_LINE_ADDRESS 0x20000

static bool add_number(struct pc *pc, uint16_t key, uint64_t value, struct error *error)
{
    uint8_t bytes[4];
    store_le32(bytes, (uint32_t)value);
    return pc_fw_cfg_add_item(pc, key, bytes, sizeof bytes, error);
}

static bool add_setup(const struct linux_image *image, struct pc *pc, uint64_t initrd, struct error *error)
{
    uint8_t *setup = copy_bytes(image->kernel, image->setup_size);
    if (!setup)
        return error_set(error, "out of memory");
    setup[HEADER_TYPE_OF_LOADER] = 0xff;
    setup[HEADER_LOADFLAGS] |= 0x80;
    store_le16(setup + HEADER_HEAP_END_PTR, SETUP_HEAP_END - 0x200);
    store_le32(setup + HEADER_CODE32_START, (uint32_t)image->load_address);
    store_le32(setup + HEADER_CMD_LINE_PTR, SETUP_COMMAND_LINE_ADDRESS);
    store_le32(setup + HEADER_RAMDISK_IMAGE, (uint32_t)initrd);
    store_le32(setup + HEADER_RAMDISK_SIZE, (uint32_t)image->initrd_size);
    bool good = add_number(pc, ITEM_SETUP_ADDRESS, SETUP_ADDRESS, error) &&
                add_number(pc, ITEM_SETUP_SIZE, image->setup_size, error) &&
                pc_fw_cfg_add_item(pc, ITEM_SETUP_DATA, setup, image->setup_size, error);
    free(setup);
    return good;
}

bool linux_boot_by_firmware(const struct linux_image *image, struct machine *machine, struct error *error)
{
    struct pc *pc = machine->pc;
    uint64_t top = machine->config.ram_size < PCI_HOLE_START ? machine->config.ram_size : PCI_HOLE_START;
    top = top > TABLES_ROOM ? top - TABLES_ROOM : 0;
    if (!check_fit(image, top, machine->config.ram_size, error))
        return false;
    if (image->setup_size > SETUP_HEAP_END)
        return error_set(error, "kernel %s: its real-mode part of %zu bytes is too large", image->name,
                         image->setup_size);
    uint64_t initrd = image->initrd_size ? initrd_place(image, top) : 0;
    size_t line = strlen(image->command_line) + 1, kernel = image->kernel_size - image->setup_size;
    return add_setup(image, pc, initrd, error) && add_number(pc, ITEM_KERNEL_ADDRESS, image->load_address, error) &&
           add_number(pc, ITEM_KERNEL_ENTRY, image->load_address, error) &&
           add_number(pc, ITEM_KERNEL_SIZE, kernel, error) &&
           pc_fw_cfg_add_item(pc, ITEM_KERNEL_DATA, image->kernel + image->setup_size, kernel, error) &&
           add_number(pc, ITEM_COMMAND_LINE_ADDRESS, SETUP_COMMAND_LINE_ADDRESS, error) &&
           add_number(pc, ITEM_COMMAND_LINE_SIZE, line, error) &&
           pc_fw_cfg_add_item(pc, ITEM_COMMAND_LINE_DATA, image->command_line, line, error) &&
           add_number(pc, ITEM_INITRD_ADDRESS, initrd, error) &&
           add_number(pc, ITEM_INITRD_SIZE, image->initrd_size, error) &&
           (!image->initrd_size ||
            pc_fw_cfg_add_item(pc, ITEM_INITRD_DATA, image->initrd, image->initrd_size, error)) &&
           pc_add_option_rom(pc, "linuxboot", linuxboot_rom, linuxboot_rom_size, error);
}
