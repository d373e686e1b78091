// Run by a launcher: every rank checks every collective against serial loops.
//
//   mpirun -np 4 test_ranks                       host memory
//   mpirun -np 2 test_ranks --device cuda         NCCL
//   MFL_RENDEZVOUS=/tmp/empty MFL_WORLD_SIZE=2 MFL_RANK=0 test_ranks & ... MFL_RANK=1 test_ranks          without MPI
//   mpirun -np 4 test_ranks --fail 2              rank 2 fails: all must end, with its message and exit code 3
//   mpirun -np 4 test_ranks --stall 2 --limit 1   rank 2 stalls: a watchdog ends the run
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "runtime/log.h"
#include "tests/support/comm_checks.h"
#include "tests/support/reduce_checks.h"
#include "train/watchdog.h"

int main(int argc, char** argv) {
  using namespace mfl;
  std::string device = "cpu";
  int fail = -1, stall = -1;
  double limit = 60;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    if (key == "--device") device = argv[i + 1];
    if (key == "--fail") fail = std::atoi(argv[i + 1]);
    if (key == "--stall") stall = std::atoi(argv[i + 1]);
    if (key == "--limit") limit = std::atof(argv[i + 1]);
  }
  std::unique_ptr<Communicator> comm;
  try {
    comm = make_communicator(parse_device(device));
  } catch (const std::exception& e) {
    log_error(e.what());
    return exit_code(e);
  }
  return run_rank(*comm, [&] {
    RollCall ranks(*comm);
    Watchdog dog(*comm, {.stall = limit}, {}, &ranks);
    dog.phase("control plane");
    test::check_control_plane(*comm);
    if (comm->rank() == fail) throw_error<DataError>("scene_07.h5 is truncated");
    dog.phase("collectives");
    if (comm->rank() == stall) std::this_thread::sleep_for(std::chrono::minutes(5));
    const int done = test::check_collectives(*comm, true);
    dog.phase("gradient reducer");
    test::check_grad_reducer(*comm);
    comm->barrier();
    if (comm->rank() == 0)
      std::printf("%s: %d ranks on %s: %d collectives and the gradient reducer are right\n", comm->name(), comm->size(),
                  device.c_str(), done);
    return 0;
  });
}
