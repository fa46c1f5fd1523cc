# The 32-bit real guests (label guests32: `./dev test --all` only, they need a second package list), for tests/guest/CMakeLists.txt to include. make_guests32.sh fetches them.
function(real_guest32 name)
  if(TARGET doppel)
    list(POP_FRONT ARGN check)
    add_test(NAME guests/${name}
             COMMAND ${DOPPEL_PYTHON} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/real_guest32.py ${check} $<TARGET_FILE:doppel> ${ARGN})
    set_tests_properties(guests/${name} PROPERTIES LABELS guests32 TIMEOUT 900 SKIP_RETURN_CODE 77)
  endif()
endfunction()

real_guest32(pae-512 boot pae 512)
real_guest32(pae-512-interp boot pae 512 -accel interp)
real_guest32(pae-6144 boot pae 6144)
real_guest32(pae-by-firmware boot pae 512 -machine pc,direct=off)
real_guest32(i686-512 boot i686 512)
real_guest32(i686-512-interp boot i686 512 -accel interp)
real_guest32(i686-by-firmware boot i686 512 -machine pc,direct=off)
real_guest32(memtest-x64 memtest x64 jit)
real_guest32(memtest-ia32 memtest ia32 jit)
