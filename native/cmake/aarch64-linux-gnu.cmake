# Cross-compiles for arm64 Linux with Debian's compiler:
#   cmake -S . -B build/arm64 -G Ninja --toolchain native/cmake/aarch64-linux-gnu.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
