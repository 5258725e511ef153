#include "sim/tool/io_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/size.h"
#include "sim/image/layers.h"
#include "sim/qcow2/create.h"
#include "sim/storage/memory.h"

namespace sim::tool {

IoOutcome IoSession::complain(std::string_view text) const {
  invocation_.complain(text);
  return IoOutcome::failed;
}

IoOutcome IoSession::refuse(std::string_view text) const {
  print(fmt::format("{}\n", text));
  return IoOutcome::failed;
}

bool IoSession::may_change() const {
  if (request_.writable) return true;
  complain("Block node is read-only");
  return false;
}

bool IoSession::ignores_discards() const {
  const std::string mode = invocation_.value("d");
  return mode == "ignore" || mode == "off";
}

Task<IoOutcome> IoSession::open(image::OpenRequest request, bool snapshot) {
  if (is_open()) co_return complain("file open already, try 'help close'");
  request_ = request;
  snapshot_ = snapshot;
  if (snapshot) request.writable = false;
  auto opened = co_await image::open_chain(context_, std::move(request));
  if (!opened)
    co_return complain(
        fmt::format("can't open device {}: {}", request_.filename, opened.error().desc));
  layer_ = *std::move(opened);
  if (!snapshot) co_return IoOutcome::done;
  if (auto put = co_await put_overlay(); !put) {
    layer_.reset();
    co_return complain(
        fmt::format("can't open device {}: {}", request_.filename, put.error().desc));
  }
  co_return IoOutcome::done;
}

// -s: writes go to an overlay in memory.
Task<Result<>> IoSession::put_overlay() {
  auto file = std::make_shared<storage::MemoryFile>();
  CO_TRY_OK(co_await qcow2::create(*file, {.size = layer_->size()}));
  CO_TRY(auto image, co_await qcow2::Image::open(invocation_.world(), file, {.writable = true}));
  image::Layer::Place place;
  place.file = file;
  auto overlay = image::make_qcow2_layer(std::move(place), std::move(image));
  overlay->set_backing(std::move(layer_));
  layer_ = std::move(overlay);
  co_return ok();
}

Task<IoOutcome> IoSession::close() {
  if (!is_open()) co_return IoOutcome::done;
  const std::unique_ptr<image::Layer> layer = std::move(layer_);
  if (auto closed = co_await layer->close(); !closed) co_return complain(closed.error().desc);
  co_return IoOutcome::done;
}

Task<IoOutcome> IoSession::reopen(bool writable) {
  if (co_await close() == IoOutcome::failed) co_return IoOutcome::failed;
  image::OpenRequest request = request_;
  request.writable = writable;
  co_return co_await open(std::move(request), snapshot_);
}

static std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t start = line.find_first_not_of(' ', at);
    if (start == std::string::npos) break;
    at = std::min(line.find(' ', start), line.size());
    words.push_back(line.substr(start, at - start));
  }
  return words;
}

std::string usage_of(const IoCommand& command) {
  return fmt::format("{} {} -- {}", command.name, command.synopsis, command.summary);
}

// Error: a line for standard error, empty if there is nothing to say but the usage.
Result<IoArguments> IoSession::take_apart(const IoCommand& command,
                                          std::vector<std::string> words) const {
  const auto bad = [&](std::string_view what, char letter) {
    return Error{ErrorClass::generic, fmt::format("{}: {} -- '{}'", command.name, what, letter),
                 EINVAL};
  };
  IoArguments arguments{.options = {}, .operands = {}, .usage = usage_of(command)};
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.size() < 2 || word.front() != '-') {
      arguments.operands.push_back(word);
      continue;
    }
    for (std::size_t at = 1; at < word.size(); ++at) {
      const std::size_t known = command.options.find(word[at]);
      if (known == std::string_view::npos || word[at] == ':')
        return bad("invalid option", word[at]);
      const bool takes_value = command.options.substr(known + 1).starts_with(':');
      if (!takes_value) {
        arguments.options[word[at]];
        continue;
      }
      if (at + 1 == word.size() && i + 1 == words.size())
        return bad("option requires an argument", word[at]);
      arguments.options[word[at]] = at + 1 < word.size() ? word.substr(at + 1) : words[++i];
      break;
    }
  }
  return arguments;
}

// What is wrong with so many words behind the name; empty: nothing.
static std::string count_error(const IoCommand& command, int count) {
  if (count >= command.least && (command.most < 0 || count <= command.most)) return {};
  const std::string start =
      fmt::format("bad argument count {} to {}, expected ", count, command.name);
  if (command.most < 0) return fmt::format("{}at least {} arguments", start, command.least);
  if (command.least == command.most) return fmt::format("{}{} arguments", start, command.least);
  return fmt::format("{}between {} and {} arguments", start, command.least, command.most);
}

Task<IoOutcome> IoSession::execute(const std::string& line) {
  const std::vector<std::string> words = words_of(line);
  if (words.empty()) co_return IoOutcome::done;
  const auto& commands = io_commands();
  const auto command = std::ranges::find_if(commands, [&](const IoCommand& each) {
    return each.name == words.front() || each.alias == words.front();
  });
  const auto say = [this](std::string_view text) {
    invocation_.surroundings().err(fmt::format("{}\n", text));
    return IoOutcome::failed;
  };
  if (command == commands.end()) co_return say(fmt::format("command \"{}\" not found", words[0]));
  if (command->needs_image && !is_open()) co_return say("no file open, try 'help open'");
  const std::string miscounted = count_error(*command, static_cast<int>(words.size()) - 1);
  if (!miscounted.empty()) co_return say(miscounted);
  const auto arguments = take_apart(*command, words);
  if (!arguments) {
    say(arguments.error().desc);
    co_return refuse(usage_of(*command));
  }
  co_return co_await command->run(*this, *arguments);
}

std::optional<std::uint64_t> io_number(const IoSession& session, const std::string& text) {
  const auto number = parse_qemu_size(text);
  if (number && *number <= INT64_MAX) return *number;
  const bool large = number.ok() || number.error().number == ERANGE;
  session.refuse(fmt::format(
      "Parsing error: {} -- {}",
      large ? "argument too large" : "non-numeric argument, or extraneous/unrecognized suffix",
      text));
  return std::nullopt;
}

}  // namespace sim::tool
