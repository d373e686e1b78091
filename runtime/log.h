// One-line logging on stderr with the rank in front when there are several. Thread-safe. Levels by MFL_LOG (debug, info,
// warning, error); the default is info on rank 0 and warning on the others.
#pragma once

#include <string>

#include "runtime/error.h"

namespace mfl {

enum class LogLevel { debug, info, warning, error };
void set_log_rank(int rank, int world);
void log_line(LogLevel, const std::string&);
// Also sends every line to this file (the run's log); an empty path stops it. Failure to open is a warning, not an error.
void set_log_file(const std::string& path);

template <class... P> void log_debug(const P&... p) { log_line(LogLevel::debug, text(p...)); }
template <class... P> void log_info(const P&... p) { log_line(LogLevel::info, text(p...)); }
template <class... P> void log_warning(const P&... p) { log_line(LogLevel::warning, text(p...)); }
template <class... P> void log_error(const P&... p) { log_line(LogLevel::error, text(p...)); }

}  // namespace mfl
