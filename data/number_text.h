// Numbers in sentences and tables for people.
#pragma once

#include <cstdio>
#include <string>

namespace mfl::data {

// printf's patterns as a string of any length. Arguments are numbers and C strings.
template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::string s(static_cast<std::size_t>(std::snprintf(nullptr, 0, pattern, values...)), '\0');
  std::snprintf(s.data(), s.size() + 1, pattern, values...);
  return s;
}

inline std::string fixed(double v, int digits) { return format("%.*f", digits, v); }
inline std::string percent(double share, int digits = 1) { return fixed(100 * share, digits) + " %"; }

}  // namespace mfl::data
