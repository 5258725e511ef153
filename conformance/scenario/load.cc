#include "conformance/scenario/load.h"

#include "conformance/scenario/matrix.h"
#include "conformance/scenario/meaning.h"
#include "conformance/scenario/parse_json.h"
#include "conformance/scenario/read.h"
#include "conformance/scenario/schema.h"

namespace conformance {

InputResult<LoadedFile> load_scenarios(std::string_view text, const std::string& id,
                                       const std::string& file, std::string_view schema) {
  InputResult<Json> document = parse_json(text, file);
  if (!document) return std::unexpected(document.error());
  if (InputResult<void> valid = validate(*document, file, schema); !valid)
    return std::unexpected(valid.error());
  InputResult<Expansion> expansion = expand(*document, id, file);
  if (!expansion) return std::unexpected(expansion.error());

  LoadedFile loaded;
  loaded.excluded = std::move(expansion->excluded);
  FirstError error(file);
  for (const Draft& draft : expansion->drafts) {
    loaded.scenarios.push_back(read_draft(draft, error));
    if (!error) check_meaning(loaded.scenarios.back(), draft, error);
    if (error) return error.unexpected();
  }
  return loaded;
}

}  // namespace conformance
