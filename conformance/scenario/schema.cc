#include "conformance/scenario/schema.h"

#define VALIJSON_USE_EXCEPTIONS 1  // without it a broken schema would end the process

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <exception>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>
#include <vector>

#include "conformance/scenario/first_error.h"
#include "conformance/scenario/parse_json.h"

namespace conformance {
namespace {

using sim::Json;

constexpr const char* kSchemaFile = "scenario.schema.json";

// The schemas that apply to `instance` when `schema` does: itself, what it refers to, and the
// branches of its conditions.  A condition is always {"if": {"required": [one name]}}.
void collect(const Json& root, const Json& schema, const Json& instance,
             std::vector<const Json*>& found) {
  if (!schema.is_object()) return;
  found.push_back(&schema);
  if (const auto ref = schema.find("$ref"); ref != schema.end() && ref->is_string()) {
    const Json::json_pointer pointer(ref->get<std::string>().substr(1));
    if (root.contains(pointer)) collect(root, root.at(pointer), instance, found);
  }
  if (const auto condition = schema.find("if"); condition != schema.end()) {
    const std::string name = condition->at("required").at(0).get<std::string>();
    const bool holds = instance.is_object() && instance.contains(name);
    const auto branch = schema.find(holds ? "then" : "else");
    if (branch != schema.end()) collect(root, *branch, instance, found);
  }
}

// The schema of the member `key` of what `schemas` describe, or null.
const Json* member_schema(const std::vector<const Json*>& schemas, const std::string& key,
                          bool in_array) {
  for (const Json* schema : schemas) {
    if (in_array) {
      if (schema->contains("items")) return &schema->at("items");
      continue;
    }
    if (schema->contains("properties") && schema->at("properties").contains(key))
      return &schema->at("properties").at(key);
    if (schema->contains("additionalProperties") && schema->at("additionalProperties").is_object())
      return &schema->at("additionalProperties");
  }
  return nullptr;
}

std::string description(const std::vector<const Json*>& schemas) {
  for (const Json* schema : schemas)
    if (schema->contains("description")) return schema->at("description").get<std::string>();
  return {};
}

std::vector<std::string> member_names(const std::vector<const Json*>& schemas) {
  std::vector<std::string> names;
  for (const Json* schema : schemas)
    if (schema->contains("properties"))
      for (const auto& [name, unused] : schema->at("properties").items()) names.push_back(name);
  return names;
}

// The name between the last pair of single quotes of the validator's sentence.
std::string quoted(const std::string& sentence) {
  const std::size_t end = sentence.rfind('\'');
  if (end == std::string::npos || end == 0) return {};
  const std::size_t begin = sentence.rfind('\'', end - 1);
  return begin == std::string::npos ? std::string{} : sentence.substr(begin + 1, end - begin - 1);
}

// Follows the validator's path ("<root>", "[steps]", "[3]") through document and schema, and says
// what is wrong there.
InputError explain(const Json& document, const Json& schema, const std::string& file,
                   const valijson::ValidationResults::Error& error) {
  std::string place;
  const Json* instance = &document;
  std::vector<const Json*> schemas;
  collect(schema, schema, document, schemas);
  for (const std::string& step : error.context) {
    if (step.size() < 2 || step.front() != '[') continue;  // "<root>"
    const std::string key = step.substr(1, step.size() - 2);
    const bool in_array = instance->is_array();
    place = member(place, key);
    const Json* next = member_schema(schemas, key, in_array);
    instance = in_array ? &instance->at(std::stoul(key)) : &instance->at(key);
    schemas.clear();
    if (next != nullptr) collect(schema, *next, *instance, schemas);
  }
  const std::string& sentence = error.description;
  if (sentence.starts_with("Missing required property")) {
    const std::string name = quoted(sentence);
    const Json* missing = member_schema(schemas, name, false);
    std::vector<const Json*> of_missing;
    if (missing != nullptr) collect(schema, *missing, Json(), of_missing);
    const std::string meaning = description(of_missing);
    return {file, place,
            fmt::format("a member \"{}\"{}", name, meaning.empty() ? "" : ": " + meaning), ""};
  }
  if (sentence.starts_with("Object contains a property"))
    return {file, member(place, quoted(sentence)),
            fmt::format("no such member here, only: {}", fmt::join(member_names(schemas), ", ")),
            "see scenarios/scenario.schema.json"};
  const std::string meaning = description(schemas);
  return {file, place, meaning.empty() ? sentence : meaning, "found " + instance->dump()};
}

}  // namespace

InputResult<void> validate(const Json& document, const std::string& file,
                           std::string_view schema_text) {
  InputResult<Json> schema_json = parse_json(schema_text, kSchemaFile);
  if (!schema_json) return std::unexpected(schema_json.error());
  // valijson throws when a schema is wrong, and nlohmann when explain() meets one that it does not
  // expect; a document never makes them.
  try {
    valijson::Schema schema;
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    parser.populateSchema(valijson::adapters::NlohmannJsonAdapter(*schema_json), schema);
    valijson::Validator validator;
    valijson::ValidationResults results;
    if (validator.validate(schema, valijson::adapters::NlohmannJsonAdapter(document), &results))
      return {};
    valijson::ValidationResults::Error error;
    results.popError(error);
    return std::unexpected(explain(document, *schema_json, file, error));
  } catch (const std::exception& exception) {
    return std::unexpected(
        InputError{kSchemaFile, "", fmt::format("a JSON Schema ({})", exception.what()), ""});
  }
}

}  // namespace conformance
