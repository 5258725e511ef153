// What -compat asks of a machine (QAPI: CompatPolicy): how it takes what is deprecated or unstable.

#pragma once

namespace sim::qmp {

struct Compat {
  enum class Input : unsigned char { accept, reject, crash };
  enum class Output : unsigned char { accept, hide };
  Input deprecated_input = Input::accept;
  Input unstable_input = Input::accept;
  Output deprecated_output = Output::accept;
  Output unstable_output = Output::accept;
};

// The `number` of an Error that a policy `crash` gives: QEMU would abort where we return it.
inline constexpr int kPolicyCrash = -1;

}  // namespace sim::qmp
