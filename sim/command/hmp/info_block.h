// HMP's `info block` and `info block-jobs`: what QMP's queries say, for people.

#pragma once

#include <string>
#include <vector>

#include "sim/command/context.h"

namespace sim::command::hmp {

// `words`: those behind "info block".
Task<Result<std::string>> info_block(Context& context, std::vector<std::string> words);
Task<Result<std::string>> info_block_jobs(Context& context, std::vector<std::string> words);

}  // namespace sim::command::hmp
