#include "sim/qmp/monitor.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::qmp {

Monitor::Monitor(const Profile& profile, Options options, Execute execute)
    : profile_(profile),
      schema_(Schema::of(profile)),
      options_(std::move(options)),
      execute_(std::move(execute)) {}

void Monitor::connect() {
  disconnect();
  connected_ = true;
  reader_.emplace(profile_);
  put(options_.greeting);
}

void Monitor::disconnect() {
  connected_ = negotiated_ = out_of_band_ = false;
  input_.clear();
  queue_.clear();
  output_.clear();
}

void Monitor::feed(std::string_view bytes) {
  if (!connected_) return;
  input_ += bytes;
  read();
}

void Monitor::read() {
  std::string_view rest = input_;
  while (!suspended()) {
    auto input = reader_->next(rest);
    if (!input) break;
    accept(*std::move(input));
  }
  input_.erase(0, input_.size() - rest.size());
}

void Monitor::accept(Result<Json> input) {
  const bool overtakes =
      input && input->is_object() && input->contains("exec-oob") && !input->contains("execute");
  if (overtakes)
    answer(*input);
  else
    queue_.push_back(std::move(input));
}

bool Monitor::step() {
  if (queue_.empty()) return false;
  const Result<Json> input = std::move(queue_.front());
  if (input)
    answer(*input);
  else
    put(make_reply(nullptr, input.error()));
  if (!queue_.empty()) queue_.pop_front();
  read();
  return true;
}

void Monitor::answer(const Json& input) {
  const auto refuse = [&](Error error) { put(make_reply(input, std::move(error))); };
  auto request = read_request(input, out_of_band_ ? OutOfBand::allowed : OutOfBand::refused);
  if (!request) return refuse(std::move(request).error());
  if (const auto checked = check(*request); !checked) return refuse(checked.error());
  if (request->command == "qmp_capabilities") {
    if (auto agreed = negotiate(*request); !agreed) return refuse(std::move(agreed).error());
    return put(make_reply(input, Json::object()));
  }
  Json command = input;
  if (request->out_of_band) {
    command["execute"] = command["exec-oob"];
    command.erase("exec-oob");
  }
  if (auto reply = execute_(std::move(command)); reply && connected_) put(*reply);
}

Result<> Monitor::check(const Request& request) const {
  if (!negotiated_ && request.command != "qmp_capabilities")
    return Error{ErrorClass::command_not_found,
                 "Expecting capabilities negotiation with 'qmp_capabilities'"};
  const Message* command = schema_.command(request.command);
  if (request.out_of_band && command != nullptr && !command->out_of_band)
    return Error{ErrorClass::generic,
                 fmt::format("The command {} does not support OOB", request.command)};
  return ok();
}

Result<> Monitor::negotiate(const Request& request) {
  TRY_OK(schema_.check_arguments("qmp_capabilities", request.arguments, options_.compat));
  if (negotiated_)
    return Error{ErrorClass::command_not_found,
                 "Capabilities negotiation is already complete, command ignored"};
  const Json enable = request.arguments.value("enable", Json::array());
  out_of_band_ = std::ranges::find(enable, Json("oob")) != enable.end();
  negotiated_ = true;
  return ok();
}

void Monitor::tell(const Event& event) {
  if (!negotiated_) return;
  Event dated = event;
  dated.at = event.at + options_.since_epoch;
  put(to_json(dated));
}

void Monitor::put(const Json& message) {
  for (const char byte : write_json(message, profile_, options_.style)) {
    if (byte == '\n') output_ += '\r';
    output_ += byte;
  }
  output_ += "\r\n";
}

}  // namespace sim::qmp
