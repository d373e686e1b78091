#include "runtime/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

namespace mfl {
namespace {
spdlog::level::level_enum level_of(LogLevel l) {
  switch (l) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}
void set_level(spdlog::logger& logger, bool first_rank) {
  const char* wanted = std::getenv("MFL_LOG");
  logger.set_level(wanted ? spdlog::level::from_str(wanted) : first_rank ? spdlog::level::info : spdlog::level::warn);
}
spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> l = [] {
    auto made = std::make_shared<spdlog::logger>("mfl", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%^%H:%M:%S %L%$ %v");
    made->flush_on(spdlog::level::info);
    set_level(*made, true);
    return made;
  }();
  return *l;
}
}  // namespace

void set_log_rank(int rank, int world) {
  logger().set_pattern(world > 1 ? text("%^%H:%M:%S %L%$ [", rank, "] %v") : std::string("%^%H:%M:%S %L%$ %v"));
  set_level(logger(), rank == 0);
}
void log_line(LogLevel level, const std::string& line) { logger().log(level_of(level), "{}", line); }
void set_log_file(const std::string& path) {
  auto& sinks = logger().sinks();
  while (sinks.size() > 1) sinks.pop_back();
  if (path.empty()) return;
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    sink->set_pattern("%Y-%m-%d %H:%M:%S %L %v");
    sinks.push_back(sink);
  } catch (const spdlog::spdlog_ex& e) {
    log_warning("cannot write the log file: ", e.what());
  }
}

}  // namespace mfl
