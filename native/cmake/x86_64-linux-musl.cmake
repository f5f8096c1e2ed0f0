# Cross-compiles for Linux with musl by zig (pip install ziglang):
#   cmake -S . -B build/musl -G Ninja --toolchain native/cmake/x86_64-linux-musl.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
# What is linked brings a C++ library compiled anew for each set of options. Trials of CMake would
# have some made: they get the options of the build, and are not linked.
set(CMAKE_CXX_COMPILER python-zig c++ -target x86_64-linux-musl -dynamic -O2)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
