// When one rank fails inside something that all do, all learn of it at the next place where they meet.
#pragma once

#include <exception>
#include <string>

#include "runtime/comm/communicator.h"

namespace mfl {

// Collective. `mine`: what this rank's share threw, or null. Returns null where no rank failed, this rank's own failure where it has
// one, else a DataError with the lowest failed rank and its cause.
std::exception_ptr agreed_failure(Communicator&, std::exception_ptr mine);
// what() of it.
std::string cause_of(std::exception_ptr);

}  // namespace mfl
