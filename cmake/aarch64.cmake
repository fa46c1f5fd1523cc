# Cross build of program and unit tests for aarch64, run by qemu-user. DOPPEL_SYSROOT holds cmocka and the C library's
# run-time files from Debian's arm64 packages; `./dev test` makes it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES DOPPEL_SYSROOT)
set(CMAKE_C_FLAGS_INIT "-isystem ${DOPPEL_SYSROOT}/usr/include")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-L${DOPPEL_SYSROOT}/usr/lib/aarch64-linux-gnu")
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L ${DOPPEL_SYSROOT})
set(CMAKE_FIND_ROOT_PATH ${DOPPEL_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# Optional libraries of the building host (capstone) are not for this program.
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
