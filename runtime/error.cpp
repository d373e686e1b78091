#include "runtime/error.h"

namespace mfl {

int exit_code(const std::exception& e) noexcept {
  if (dynamic_cast<const ConfigError*>(&e)) return kExitConfig;
  if (dynamic_cast<const DataError*>(&e)) return kExitData;
  if (dynamic_cast<const OutOfMemory*>(&e)) return kExitMemory;
  if (dynamic_cast<const DeviceError*>(&e)) return kExitDevice;
  if (dynamic_cast<const CommError*>(&e)) return kExitComm;
  return kExitFailure;
}

}  // namespace mfl
