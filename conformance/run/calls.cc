#include "conformance/run/calls.h"

#include <array>
#include <charconv>
#include <utility>

#include "conformance/run/describe.h"
#include "conformance/run/destination_xml.h"
#include "conformance/run/snapshot_xml.h"
#include "conformance/scenario/read.h"
#include "sim/base/text.h"

namespace conformance {

std::string_view api_name(CallStep::Api api) { return kApiNames[std::to_underlying(api)]; }

CallStep in_directory(const CallStep& call, const std::string& directory) {
  CallStep result = call;
  for (std::string* text :
       {&result.disk, result.base ? &*result.base : nullptr, result.top ? &*result.top : nullptr,
        &result.destination.path, &result.destination.xml})
    if (text != nullptr) *text = sim::replace_all(*text, "${dir}", directory);
  for (CopyDestination::Layer& layer : result.destination.backing)
    layer.file = sim::replace_all(layer.file, "${dir}", directory);
  result.snapshot.xml = sim::replace_all(result.snapshot.xml, "${dir}", directory);
  if (result.snapshot.disks)
    for (SnapshotDocument::OfDisk& disk : *result.snapshot.disks)
      for (std::string* text : {&disk.disk, &disk.file})
        *text = sim::replace_all(*text, "${dir}", directory);
  return result;
}

static DomainResult<void> copy_on(DomainApi& domain, const CallStep& call) {
  return domain.block_copy(
      call.disk, to_xml(call.destination),
      {.bandwidth = call.bandwidth, .granularity = call.granularity, .buf_size = call.buf_size},
      bits_of(call));
}

static model::Format format_of(Image::Format format) {
  return format == Image::Format::raw ? model::Format::raw : model::Format::qcow2;
}

static model::CallPrediction copy_on(model::DomainModel& model, const CallStep& call) {
  const CopyDestination& destination = call.destination;
  if (!destination.xml.empty()) {
    model::CallPrediction prediction;
    prediction.unknown = "the model reads no XML";
    return prediction;
  }
  model::CopyDestination told{.path = destination.path,
                              .is_device = destination.is_device,
                              .terminated = destination.terminated};
  if (destination.format != CopyDestination::Format::unsaid)
    told.format = destination.format == CopyDestination::Format::raw ? model::Format::raw
                                                                     : model::Format::qcow2;
  for (const CopyDestination::Layer& layer : destination.backing)
    told.backing.push_back({layer.file, format_of(layer.format)});
  return model.block_copy(
      call.disk, told,
      {.bandwidth = call.bandwidth, .granularity = call.granularity, .buf_size = call.buf_size},
      bits_of(call));
}

static DomainResult<void> create_snapshot_on(DomainApi& domain, const CallStep& call) {
  auto made = domain.snapshot_create_xml(to_xml(call.name, call.snapshot), bits_of(call));
  if (!made) return std::unexpected(std::move(made).error());
  return {};
}

static model::SnapshotMode mode_of(const std::string& word) {
  using enum model::SnapshotMode;
  if (word == "no") return none;
  if (word == "internal") return internal;
  if (word == "external") return external;
  return word == "manual" ? manual : unsaid;
}

static model::CallPrediction create_snapshot_on(model::DomainModel& model, const CallStep& call) {
  if (!call.snapshot.xml.empty()) {
    model::CallPrediction prediction;
    prediction.unknown = "the model reads no XML";
    return prediction;
  }
  model::SnapshotRequest request{
      .name = call.name, .memory = mode_of(call.snapshot.memory), .disks = {}};
  if (call.snapshot.disks)
    for (const SnapshotDocument::OfDisk& disk : *call.snapshot.disks) {
      model::SnapshotRequest::OfDisk of_disk{disk.disk, mode_of(disk.snapshot), disk.file};
      if (!disk.format.empty())
        of_disk.format = disk.format == "raw" ? model::Format::raw : model::Format::qcow2;
      request.disks.push_back(std::move(of_disk));
    }
  return model.snapshot_create(request, bits_of(call));
}

// Domain and model have the same calls, but for the documents and the pull as proposed.
template <class Callee>
static auto call_on(Callee& callee, const CallStep& call) {
  const std::uint32_t flags = bits_of(call);
  using enum CallStep::Api;
  switch (call.api) {
    case block_rebase:
      return callee.block_rebase(call.disk, call.base, call.bandwidth, flags);
    case block_pull:
      return callee.block_pull(call.disk, call.bandwidth, flags);
    case block_commit:
      return callee.block_commit(call.disk, call.base, call.top, call.bandwidth, flags);
    case block_copy:
      return copy_on(callee, call);
    case snapshot_create:
      return create_snapshot_on(callee, call);
    case snapshot_delete:
      return callee.snapshot_delete(call.name, flags);
    case snapshot_revert:
      return callee.snapshot_revert(call.name, flags);
    case block_job_abort:
      return callee.block_job_abort(call.disk, flags);
    case block_job_set_speed:
      return callee.block_job_set_speed(call.disk, call.bandwidth, flags);
    case pull_all:
      return callee.pull_all(call.disk);
    case pull_abort:
      return callee.pull_abort(call.disk);
    case pull:
    case pull_info:
      break;
  }
  std::unreachable();
}

DomainResult<CallAnswer> make_call(DomainApi& domain, const CallStep& call) {
  if (call.api == CallStep::Api::pull) return domain.pull(call.disk, call.cursor, bits_of(call));
  if (call.api == CallStep::Api::pull_info) return domain.pull_info(call.disk);
  auto done = call_on(domain, call);
  if (!done) return std::unexpected(std::move(done).error());
  return std::nullopt;
}

// The value, in single quotes, of an attribute of the first such element; empty if it is not there.
static std::string attribute(const std::string& document, const std::string& element,
                             const std::string& name) {
  const std::size_t begin = document.find("<" + element + " ");
  const std::size_t end = document.find('>', begin);
  const std::size_t at = document.find(name + "='", begin);
  if (begin == std::string::npos || at == std::string::npos || at > end) return {};
  const std::size_t value = at + name.size() + 2;
  return document.substr(value, document.find('\'', value) - value);
}

// The model is told what a plain document means, so that it need not read XML; of one that is not
// plain it has no opinion.
static model::CallPrediction predict_rebase_to(model::DomainModel& model, const CallStep& call) {
  model::BaseDocument base{.path = attribute(*call.base, "source", "file"),
                           .format = attribute(*call.base, "driver", "type")};
  const std::string index = attribute(*call.base, "source", "index");
  std::from_chars(index.data(), index.data() + index.size(), base.index);
  if (base.path.empty()) {
    model::CallPrediction prediction;
    prediction.unknown = "a document that names no file";
    return prediction;
  }
  return model.block_rebase_to(call.disk, base, call.bandwidth, bits_of(call));
}

model::CallPrediction predict_call(model::DomainModel& model, const CallStep& call) {
  if (call.api == CallStep::Api::pull) return model.pull(call.disk, call.cursor, bits_of(call));
  if (call.api == CallStep::Api::pull_info) return model.pull_info(call.disk);
  const bool by_document = call.base && (bits_of(call) & kRebaseBaseXml) != 0;
  if (call.api == CallStep::Api::block_rebase && by_document) return predict_rebase_to(model, call);
  return call_on(model, call);
}

}  // namespace conformance
