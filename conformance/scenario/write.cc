// A Scenario back to a file's text: one line for each image, disk and step.

#include <fmt/format.h>

#include "conformance/scenario/load.h"
#include "conformance/scenario/read.h"
#include "sim/base/size.h"

namespace conformance {
namespace {

using Ordered = nlohmann::ordered_json;

// On one line, with a space after colons and commas.
std::string one_line(const Ordered& value) {
  if (!value.is_structured()) return value.dump();
  std::string inner;
  for (const auto& [key, item] : value.items()) {
    if (!inner.empty()) inner += ", ";
    if (value.is_object()) inner += Ordered(key).dump() + ": ";
    inner += one_line(item);
  }
  return value.is_object() ? "{" + inner + "}" : "[" + inner + "]";
}

Ordered write_json(const Write& write) {
  Ordered json;
  if (write.kind == Write::Kind::data)
    json["write"] = write.pattern;
  else
    json[write.kind == Write::Kind::zero ? "zero" : "discard"] = true;
  json["at"] = sim::format_size(write.offset);
  json["length"] = sim::format_size(write.length);
  return json;
}

Ordered image_json(const Image& image) {
  const bool is_raw = image.format == Image::Format::raw;
  Ordered json;
  if (image.file != image.name) json["file"] = image.file;
  json["format"] = is_raw ? "raw" : "qcow2";
  json["size"] = sim::format_size(image.size);
  if (!is_raw && image.cluster_size != Image().cluster_size)
    json["cluster_size"] = sim::format_size(image.cluster_size);
  if (!image.backing.empty()) json["backing"] = image.backing;
  if (!image.backing_name.empty()) json["backing_name"] = image.backing_name;
  if (!image.passphrase.empty()) json["encryption"]["passphrase"] = image.passphrase;
  for (const Write& write : image.writes) json["writes"].push_back(write_json(write));
  return json;
}

Ordered destination_json(const CopyDestination& destination) {
  Ordered json;
  if (!destination.xml.empty()) {
    json["xml"] = destination.xml;
    return json;
  }
  json[destination.is_device ? "dev" : "file"] = destination.path;
  if (destination.format != CopyDestination::Format::unsaid)
    json["format"] = destination.format == CopyDestination::Format::raw ? "raw" : "qcow2";
  for (const CopyDestination::Layer& layer : destination.backing) {
    Ordered& one = json["backing"].emplace_back();
    one["file"] = layer.file;
    one["format"] = kImageFormats[static_cast<std::size_t>(layer.format)];
  }
  if (destination.terminated) json["backing"].push_back("none");
  return json;
}

void write_snapshot(const CallStep& step, Ordered& json) {
  if (!step.snapshot.xml.empty())
    json["xml"] = step.snapshot.xml;
  else
    json["name"] = step.name;
  if (!step.snapshot.memory.empty()) json["memory"] = step.snapshot.memory;
  if (!step.snapshot.disks) return;
  json["disks"] = Ordered::array();
  for (const SnapshotDocument::OfDisk& disk : *step.snapshot.disks) {
    Ordered& one = json["disks"].emplace_back();
    one["disk"] = disk.disk;
    for (const auto& [key, text] : {std::pair{"snapshot", &disk.snapshot},
                                    std::pair{"file", &disk.file},
                                    {"format", &disk.format}})
      if (!text->empty()) one[key] = *text;
  }
}

Ordered step_json(const CallStep& step) {
  Ordered json;
  json["call"] = kApiNames[static_cast<std::size_t>(step.api)];
  if (is_snapshot_call(step.api))
    write_snapshot(step, json);
  else
    json["disk"] = step.disk;
  const bool commits = step.api == CallStep::Api::block_commit;
  if (commits || step.api == CallStep::Api::block_rebase)
    json["base"] = step.base ? Ordered(*step.base) : Ordered();
  if (commits) json["top"] = step.top ? Ordered(*step.top) : Ordered();
  if (step.api == CallStep::Api::block_copy)
    json["destination"] = destination_json(step.destination);
  if (step.api == CallStep::Api::pull)
    json["cursor"] = step.cursor ? Ordered(*step.cursor) : Ordered();
  if (step.api != CallStep::Api::block_job_abort && !is_proposed(step.api) &&
      !is_snapshot_call(step.api))
    json["bandwidth"] = step.bandwidth;
  if (step.granularity != 0) json["granularity"] = step.granularity;
  if (step.buf_size != 0) json["buf-size"] = step.buf_size;
  if (!step.flags.empty()) json["flags"] = step.flags;
  if (step.expect && step.expect->error) {
    const DomainError& error = *step.expect->error;
    Ordered& expected = json["expect"]["error"];
    expected["domain"] = error.domain;
    expected["code"] = error.code;
    expected["message"] = error.message;
  } else if (step.expect) {
    json["expect"]["ok"] = true;
  }
  return json;
}

Ordered step_json(const QmpStep& step) {
  Ordered json;
  json["qmp"] = step.command;
  if (!step.arguments.is_null()) json["arguments"] = step.arguments;
  if (step.expect) json["expect"] = *step.expect;
  return json;
}

Ordered step_json(const GuestStep& step) {
  using Operation = GuestStep::Operation;
  Ordered json;
  json["guest"] = kGuestOperations[static_cast<std::size_t>(step.operation)];
  json["disk"] = step.disk;
  if (step.operation != Operation::flush) {
    json["at"] = sim::format_size(step.offset);
    json["length"] = sim::format_size(step.length);
  }
  if (step.operation == Operation::write || step.operation == Operation::read)
    json["pattern"] = step.pattern;
  if (step.error) json["expect"]["error"] = *step.error;
  return json;
}

Ordered step_json(const FaultStep& step) {
  Ordered fault;
  fault["on"] = step.on;
  fault["op"] = step.op;
  fault["nth"] = step.nth;
  fault["errno"] = step.number;
  if (step.lasting) fault["lasting"] = true;
  Ordered json;
  json["fault"] = std::move(fault);
  return json;
}

Ordered step_json(const PowerCutStep&) {
  Ordered json;
  json["power-cut"] = true;
  return json;
}

Ordered step_json(const RestStep&) {
  Ordered json;
  json["wait-jobs"] = "rest";
  return json;
}

Ordered step_json(const WaitStep& step) {
  Ordered json;
  if (step.event.empty()) {
    json["wait"] = step.status;
    json["disk"] = step.disk;
    return json;
  }
  json["wait-event"] = step.event;
  if (!step.data.is_null()) json["data"] = step.data;
  return json;
}

Ordered step_json(const CheckStep& step) {
  Ordered json;
  json["check"] = step.disk;
  if (step.guest) json["guest"] = *step.guest;
  if (step.chain) json["chain"] = *step.chain;
  if (step.snapshots) {
    json["snapshots"] = Ordered::object();
    for (const auto& [name, parent] : *step.snapshots)
      json["snapshots"][name] = parent.empty() ? Ordered() : Ordered(parent);
  }
  if (step.current) json["current"] = step.current->empty() ? Ordered() : Ordered(*step.current);
  return json;
}

template <class Pieces, class ToLine>
std::vector<std::string> lines_of(const Pieces& pieces, ToLine to_line) {
  std::vector<std::string> lines;
  lines.reserve(pieces.size());
  for (const auto& piece : pieces) lines.push_back(to_line(piece));
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "\n    " : ",\n    ") + line;
  return text.empty() ? text : text + "\n  ";
}

}  // namespace

std::string to_json_text(const Scenario& scenario) {
  const auto images = lines_of(scenario.images, [](const Image& image) {
    return Ordered(image.name).dump() + ": " + one_line(image_json(image));
  });
  const auto disks = lines_of(scenario.disks, [](const Disk& disk) {
    Ordered json;
    json["target"] = disk.target;
    json["source"] = disk.source;
    return one_line(json);
  });
  const auto steps = lines_of(scenario.steps, [](const Step& step) {
    return one_line(std::visit([](const auto& action) { return step_json(action); }, step.action));
  });
  const auto leases =
      lines_of(scenario.leases.value_or(std::vector<OtherLease>()), [](const OtherLease& lease) {
        Ordered json;
        json["file"] = lease.file;
        json["holder"] = lease.holder;
        json["mode"] = kLeaseModes[static_cast<std::size_t>(lease.mode)];
        return one_line(json);
      });
  std::string ending;
  if (scenario.dialect == Dialect::as_proposed) ending += ",\n  \"dialect\": \"as-proposed\"";
  if (scenario.persistent) ending += ",\n  \"persistent\": true";
  if (scenario.recipe == CopyRecipe::drive) ending += ",\n  \"recipe\": \"drive\"";
  if (!scenario.since.empty()) ending += fmt::format(",\n  \"since\": \"{}\"", scenario.since);
  if (scenario.files != FileComparison::bytes)
    ending += fmt::format(",\n  \"files\": \"{}\"",
                          scenario.files == FileComparison::content ? "content" : "none");
  return fmt::format(
      "{{\n  \"title\": {},\n  \"because\": {},\n  \"images\": {{{}}},\n  \"disks\": [{}],\n"
      "{}  \"steps\": [{}]{}\n}}\n",
      Ordered(scenario.title).dump(), Ordered(scenario.because).dump(), joined(images),
      joined(disks),
      scenario.leases ? fmt::format("  \"leases\": [{}],\n", joined(leases)) : std::string(),
      joined(steps), ending);
}

}  // namespace conformance
