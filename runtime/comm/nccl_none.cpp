// A build without CUDA, hence without NCCL.
#include "runtime/comm/communicator.h"

namespace mfl {

std::unique_ptr<Communicator> make_nccl(std::unique_ptr<Communicator>, Device device) {
  throw_error<DeviceError>("several ranks on ", device,
                           " need NCCL, and this build has no CUDA; configure with the preset "
                           "`cuda` on a machine with nvcc");
}

}  // namespace mfl
