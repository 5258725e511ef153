// The program `understudy-qemu`.

#include <string>
#include <vector>

#include "sim/machine/program.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return sim::machine::run_program(argc > 0 ? argv[0] : "", arguments);
}
