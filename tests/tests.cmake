# Tests that are not one Check program each: scripts over the source tree and over an installed SDK.
add_test(NAME laws/source COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/laws/laws.sh ${CMAKE_SOURCE_DIR})
add_test(NAME laws/selftest COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/laws/selftest.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(laws/source laws/selftest PROPERTIES TIMEOUT 120)

# A folder's own: NAME/tests.cmake, for what is more than one program a file (plugins: the zoo of wrong plugins).
file(GLOB own CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*/tests.cmake)
foreach(file ${own})
    include(${file})
endforeach()

find_program(GRAFT_CXX NAMES c++ g++ clang++ NO_CACHE)
if(NOT GRAFT_CXX)
    set(GRAFT_CXX "")
endif()
add_test(NAME abi/headers COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/abi/headers.sh ${CMAKE_SOURCE_DIR} ${CMAKE_C_COMPILER} "${GRAFT_CXX}")
if(NOT GRAFT_SANITIZE) # there the plugins are not libraries
    add_test(NAME abi/installed COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/abi/installed.sh ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR} ${CMAKE_C_COMPILER} "${GRAFT_CXX}")
    set_tests_properties(abi/installed PROPERTIES TIMEOUT 900)
endif()

# What .ci/run leaves out under the sanitizers (slow: minutes there), and what it runs under ThreadSanitizer (threads: work on several of them).
get_property(names DIRECTORY PROPERTY TESTS)
foreach(name ${names})
    if(name MATCHES "^(e2e/|golden/(smollm2|trajectory|arch/all)|methods/cross|backends/opencl)")
        set_property(TEST ${name} APPEND PROPERTY LABELS slow)
    endif()
    if(name MATCHES "^(unit_base/(config|log|threads)|unit_data/|backends/cpu)")
        set_property(TEST ${name} APPEND PROPERTY LABELS threads)
    endif()
endforeach()
