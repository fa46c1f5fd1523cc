# The program's command line and exit codes, as a user sees them.
if(TARGET doppel AND DOPPEL_PYTHON)
  add_test(NAME frontend/cli COMMAND ${DOPPEL_PYTHON} ${CMAKE_CURRENT_LIST_DIR}/cli_test.py $<TARGET_FILE:doppel>)
  set_tests_properties(frontend/cli PROPERTIES LABELS "unit;frontend" TIMEOUT 120)
endif()
