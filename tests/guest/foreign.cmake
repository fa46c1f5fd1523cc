# Real guests on a host without backend: the cross build's program under the toolchain's emulator. The first line and
# a beginning of equal hashes are for `./dev test --guests`, the way to user space and off for --all.
set(DOPPEL_NATIVE ${CMAKE_SOURCE_DIR}/build/release/frontend/doppel CACHE FILEPATH "doppel for the host that builds")
set(words)
foreach(word ${CMAKE_CROSSCOMPILING_EMULATOR})
  string(APPEND words "'${word}' ")
endforeach()

# foreign_guest(NAME LABEL CHECK ARGUMENTS...)
function(foreign_guest name label check)
  add_test(NAME guests/${CMAKE_SYSTEM_PROCESSOR}-${name}
           COMMAND ${DOPPEL_PYTHON} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/real_guest.py ${check} $<TARGET_FILE:doppel> ${ARGN})
  set_tests_properties(guests/${CMAKE_SYSTEM_PROCESSOR}-${name} PROPERTIES LABELS ${label} TIMEOUT 900
                       SKIP_RETURN_CODE 77 ENVIRONMENT "DOPPEL_EMULATOR=${words}")
endfunction()

foreign_guest(first-line guests first-line cloud)
foreign_guest(hashes guests hosts ${DOPPEL_NATIVE} 100)
foreign_guest(all-hashes sweep hosts ${DOPPEL_NATIVE} 2000)
foreign_guest(cloud-512 sweep boot cloud 512)
