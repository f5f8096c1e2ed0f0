#include <fcntl.h>
#include <io.h>
#include <windows.h>

#include <algorithm>

#include "error.h"
#include "platform/file.h"

namespace cactus {

namespace {

// The text of a UTF-8 path as the system takes it; empty where it is not UTF-8.
std::wstring wide(const std::string& text) {
  const int size = static_cast<int>(text.size());
  const auto convert = [&](wchar_t* to, int room) {
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text.data(), size, to, room);
  };
  std::wstring result(static_cast<size_t>(convert(nullptr, 0)), L'\0');
  convert(result.data(), static_cast<int>(result.size()));
  return result;
}

// What the last call that failed says, in English or the user's language.
std::string last_error() {
  wchar_t text[256];
  const DWORD code = GetLastError();
  DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr,
                                code, 0, text, 256, nullptr);
  while (length > 0 && (text[length - 1] <= L' ' || text[length - 1] == L'.')) length--;
  char result[1024];
  const int size = WideCharToMultiByte(CP_UTF8, 0, text, static_cast<int>(length), result,
                                       sizeof result, nullptr, nullptr);
  return std::string(result, static_cast<size_t>(size)) + " (Windows error " +
         std::to_string(code) + ")";
}

HANDLE handle_of(int descriptor) { return reinterpret_cast<HANDLE>(_get_osfhandle(descriptor)); }

}  // namespace

File::File(const std::string& path) : path_(path) {
  const auto need = [&](bool ok, const std::string& why) {
    check(ok, CACTUS_ERROR_FILE, path + ": " + why);
  };
  // Others may rename or delete the file. A folder is opened, too, to be refused by its kind.
  const HANDLE handle = CreateFileW(wide(path).c_str(), GENERIC_READ,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  if (handle == INVALID_HANDLE_VALUE) {
    throw Error(CACTUS_ERROR_FILE, "cannot open " + path + ": " + last_error());
  }
  descriptor_ = _open_osfhandle(reinterpret_cast<intptr_t>(handle), _O_RDONLY | _O_BINARY);
  if (descriptor_ < 0) CloseHandle(handle);
  need(descriptor_ >= 0, "too many files are open");
  try {
    BY_HANDLE_FILE_INFORMATION info{};
    const bool known =
        GetFileType(handle) == FILE_TYPE_DISK && GetFileInformationByHandle(handle, &info) != 0;
    need(known && (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == 0, "is not a regular file");
    size_ = static_cast<size_t>(info.nFileSizeHigh) << 32 | info.nFileSizeLow;
    need(size_ != 0, "is empty");
  } catch (...) {
    close();
    throw;
  }
}

File::~File() { close(); }

void File::close() noexcept {
  if (is_open()) _close(descriptor_);
  descriptor_ = -1;
}

const uint8_t* File::map() const {
  const HANDLE mapping =
      CreateFileMappingW(handle_of(descriptor_), nullptr, PAGE_READONLY, 0, 0, nullptr);
  const void* address =
      mapping == nullptr ? nullptr : MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
  const std::string why = address == nullptr ? last_error() : "";
  if (mapping != nullptr) CloseHandle(mapping);  // the view keeps it
  check(address != nullptr, CACTUS_ERROR_FILE, path_ + ": cannot be mapped: " + why);
  return static_cast<const uint8_t*>(address);
}

void File::read(uint8_t* data) const {
  for (size_t at = 0; at < size_;) {
    OVERLAPPED from{};
    from.Offset = static_cast<DWORD>(at);
    from.OffsetHigh = static_cast<DWORD>(at >> 32);
    const DWORD wanted = static_cast<DWORD>(std::min(size_ - at, size_t{64} << 20));
    DWORD got = 0;
    const bool ok = ReadFile(handle_of(descriptor_), data + at, wanted, &got, &from) != 0;
    if (!ok && GetLastError() != ERROR_HANDLE_EOF) {
      throw Error(CACTUS_ERROR_FILE, path_ + ": cannot be read: " + last_error());
    }
    check(ok && got > 0, CACTUS_ERROR_FILE, path_ + ": became shorter while it was read");
    at += got;
  }
}

bool File::is_whole() const {
  LARGE_INTEGER size;
  return GetFileSizeEx(handle_of(descriptor_), &size) != 0 &&
         static_cast<size_t>(size.QuadPart) >= size_;
}

void make_present(const uint8_t* data, size_t size, const std::atomic<bool>& stopping) {
  // Piece by piece, so that closing does not wait for the whole file.
  constexpr size_t kPiece = size_t{8} << 20;
  for (size_t at = 0; at < size && !stopping.load(std::memory_order_relaxed); at += kPiece) {
    WIN32_MEMORY_RANGE_ENTRY piece{const_cast<uint8_t*>(data + at), std::min(kPiece, size - at)};
    if (PrefetchVirtualMemory(GetCurrentProcess(), 1, &piece, 0) == 0) return;
  }
}

}  // namespace cactus
