// Errors inside the core are exceptions; capi.cpp turns them into a status and a message.
#pragma once

#include <stdexcept>
#include <string>

#include "cactus.h"

namespace cactus {

class Error : public std::runtime_error {
 public:
  Error(cactus_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  cactus_status status() const { return status_; }

 private:
  cactus_status status_;
};

inline void check(bool ok, cactus_status status, const std::string& message) {
  if (!ok) throw Error(status, message);
}

}  // namespace cactus
