// A build without MPI.
#include "runtime/comm/communicator.h"

namespace mfl {

std::unique_ptr<Communicator> make_mpi() {
  throw_error<ConfigError>(
      "several ranks were started, but this build has no MPI: configure with MFL_MPI=ON, or set "
      "MFL_RENDEZVOUS to an empty folder that all ranks see");
}

}  // namespace mfl
