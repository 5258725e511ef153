// The program `understudy`.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>

#include "conformance/cli/commands.h"
#include "sim/machine/program.h"

namespace {

using cli::Options;

void add_common(CLI::App& command, Options& options) {
  command.add_option("names", options.names, "ids, groups (a prefix of ids) or scenario files");
  command.add_option("--seed", options.seed, "seed of everything that is drawn")
      ->capture_default_str();
  command.add_option("--cases", options.cases,
                     "at most so many, drawn by the seed; explore: random cases, default 100");
  command.add_option("--for", options.seconds,
                     "start nothing new after SECONDS; explore: go on for so long");
  command.add_option("--shard", options.shard, "I/N: a part that the seed draws");
  command.add_option("--report", options.report, "write report.json and junit.xml into DIR");
  command.add_option("--json", options.json, "write the JSON report to FILE");
  command.add_option("--junit", options.junit, "write the JUnit report to FILE");
  command.add_flag("--tap", options.tap, "print TAP instead of the summary");
  command.add_option("--keep", options.keep, "keep images and transcripts in DIR");
  command
      .add_option("--no-normalise", options.no_normalise,
                  "switch a normalisation of transcripts off, by name")
      ->allow_extra_args(false);
  command
      .add_option("--allow-skip", options.targets.allow_skips,
                  "skip instead of failing: no-qemu, no-qemu-version, no-libvirt")
      ->check(CLI::IsMember({"no-qemu", "no-qemu-version", "no-libvirt"}))
      ->allow_extra_args(false);
  command.add_option("--jobs", options.jobs, "threads; default: one per processor");
  command.add_flag("--quiet", options.quiet, "failures only");
  command.add_flag("--no-color", options.no_color, "no colours");
}

void add_targets(CLI::App& command, Options& options) {
  command
      .add_option("--target", options.targets.specs,
                  "sim (7.2), sim:VERSION, qemu, qemu:VERSION, qemu:/path, libvirt; repeatable")
      ->allow_extra_args(false);
}

}  // namespace

int main(int argc, char** argv) {
  (void)std::signal(SIGPIPE, SIG_IGN);
  (void)std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit of the process is an error
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "image") return cli::image_command({argv + 2, argv + argc});
  if (first == "qemu")
    return sim::machine::run_program("", std::vector<std::string>(argv + 2, argv + argc));

  CLI::App app("Understudy: a fake hypervisor, and a harness that checks real ones");
  app.set_version_flag("--version", std::string("understudy ") + UNDERSTUDY_VERSION);
  app.require_subcommand(1);
  Options options;
  CLI::App* list = app.add_subcommand("list", "print the ids of scenarios");
  list->add_option("names", options.names, "ids, groups or scenario files");
  list->add_flag("--quiet", options.quiet, "ids only");
  list->add_flag("--qmp", options.qmp, "QMP commands instead: docs/qmp-coverage.md");
  CLI::App* run = app.add_subcommand("run", "run scenarios, compare, report");
  add_common(*run, options);
  add_targets(*run, options);
  CLI::App* explore = app.add_subcommand("explore", "property-based search; shrinks what it finds");
  add_common(*explore, options);
  add_targets(*explore, options);
  explore->add_option("--property", options.property, "name of the property");
  explore->add_option("--output", options.output,
                      "where a scenario that was found is written; default: found.json");
  CLI::App* compare = app.add_subcommand("compare", "what differs between two targets");
  add_common(*compare, options);
  compare->add_option("--left", options.left, "a target")->required();
  compare->add_option("--right", options.right, "another")->required();
  app.add_subcommand("image", "qcow2 and raw files, in qemu-img's spelling");
  app.add_subcommand("qemu", "the fake QEMU as a program, as understudy-qemu");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? cli::kConforms : cli::kBadInput;
  }
  if (list->parsed()) return list_command(options);
  if (run->parsed()) return run_command(options);
  if (compare->parsed()) return compare_command(options);
  return explore_command(options);
}
