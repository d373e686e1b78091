// From the environment of this process to its communicator.
#include <cstdlib>
#include <optional>

#include "runtime/comm/communicator.h"
#include "runtime/log.h"

namespace mfl {
namespace {

std::optional<int> number(const char* name) {
  const char* value = std::getenv(name);
  if (!value || !*value) return std::nullopt;
  char* end = nullptr;
  const long n = std::strtol(value, &end, 10);
  if (*end || n < 0 || n > 1'000'000)
    throw_error<ConfigError>("environment variable ", name, "=", value, " is not a count");
  return static_cast<int>(n);
}

// What the launcher says.
struct Launch {
  const char* by = nullptr;
  int rank = 0;
  std::optional<int> size;  // PMIx tells it through MPI only
};

std::optional<Launch> find_launch() {
  struct Names {
    const char *by, *rank, *size;
  };
  static constexpr Names kLaunchers[] = {
      {"MFL_RANK", "MFL_RANK", "MFL_WORLD_SIZE"},
      {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
      {"PMI", "PMI_RANK", "PMI_SIZE"},
      // The step's count, not SLURM_NTASKS: a batch script has that one too, and is one process.
      {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
      {"PMIx", "PMIX_RANK", nullptr}};
  for (const Names& n : kLaunchers) {
    const auto rank = number(n.rank);
    if (!rank) continue;
    const auto size = n.size ? number(n.size) : std::nullopt;
    if (n.size && !size) continue;
    if (size && *rank >= *size) throw_error<ConfigError>(n.rank, "=", *rank, " is not below ", n.size, "=", *size);
    return Launch{n.by, *rank, size};
  }
  return std::nullopt;
}

// All ranks of this run over host memory, or null when there is one.
std::unique_ptr<Communicator> make_host_ranks() {
  const auto launch = find_launch();
  if (!launch) {
    // One process of a job of several tasks: nearly always a script that lacks srun, on one GPU of many for its whole time.
    if (const auto tasks = number("SLURM_NTASKS"); tasks && *tasks > 1)
      throw_error<ConfigError>("this Slurm job has SLURM_NTASKS=", *tasks, " tasks, but one process was started, without srun. Start srun ",
                               "--mpi=pmix PROGRAM; or, if one is meant, set MFL_RANK=0 and MFL_WORLD_SIZE=1");
    return nullptr;
  }
  if (launch->size == 1) return nullptr;
  const char* folder = std::getenv("MFL_RENDEZVOUS");
  if (folder && *folder) {
    if (!launch->size)
      throw_error<ConfigError>("MFL_RENDEZVOUS is set, but the launcher (", launch->by,
                               ") does not say how many ranks there are; set MFL_RANK and MFL_WORLD_SIZE");
    return make_file(folder, launch->rank, *launch->size);
  }
  auto mpi = make_mpi();
  if (launch->size && mpi->size() != *launch->size) {
    const int seen = mpi->size();
    throw_error<ConfigError>(
        launch->by, " started ", *launch->size, " ranks, but MPI sees ", seen,
        ": launcher and MPI library do not belong together. Use mpirun of the OpenMPI that this program "
        "was built with, or srun --mpi=pmix; or set MFL_RENDEZVOUS to an empty folder that all ranks see");
  }
  if (mpi->size() == 1) return nullptr;
  return mpi;
}

// The GPU of this rank.
Device gpu_of(const Communicator& c) {
  const int visible = cuda_device_count();
  // Launchers may give each rank its own visible GPU.
  if (visible == 1 && c.local_size() > 1) return {DeviceKind::cuda, 0};
  if (c.local_size() > visible)
    throw_error<ConfigError>(c.local_size(), " ranks were started on this host, but rank ", c.rank(), " sees ", visible,
                             " GPUs; start one rank a GPU, or check CUDA_VISIBLE_DEVICES");
  return {DeviceKind::cuda, c.local_rank()};
}

}  // namespace

std::unique_ptr<Communicator> make_communicator(Device wanted) {
  if (wanted.is_meta()) return make_single(wanted);
  auto host = make_host_ranks();
  if (!host) return make_single(wanted);
  set_log_rank(host->rank(), host->size());
  if (wanted.is_cpu()) return host;
  const Device gpu = gpu_of(*host);
  return make_nccl(std::move(host), gpu);
}

}  // namespace mfl
