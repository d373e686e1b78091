// What tests do to a training program from outside, by its environment. Nothing happens where the variables are not set.
//
//   MFL_TEST_POISON=name[=value]      the pixels (GS-LRM) or latents (MVDiffusion) of this sample are `value`; nan where not given
//   MFL_TEST_SLOW_RANK=rank:ms        that rank sleeps so long in every micro-batch
//   MFL_TEST_HANG=rank:step:bucket[:stop]   that rank comes no further than to this gradient bucket, both from 1: its training thread
//                                     sleeps, or the whole process is stopped
#pragma once

#include <string>
#include <vector>

#include "runtime/stream.h"
#include "runtime/tensor.h"

namespace mfl::test_hooks {

// Poisons what belongs to the sample that is named: the rows of a f32 tensor, equally many of each of `names`. On a device it waits.
void poison(const Stream&, const std::vector<std::string>& names, const Tensor& rows);
void delay(int rank);
void hang(int rank, std::size_t step, std::size_t bucket);

}  // namespace mfl::test_hooks
