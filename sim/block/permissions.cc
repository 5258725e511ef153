#include "sim/block/permissions.h"

#include <string_view>
#include <utility>

namespace sim::block {

std::string words(Permissions permissions) {
  std::string text;
  for (const auto& [bit, word] :
       {std::pair{kConsistentRead, "consistent read"}, std::pair{kWrite, "write"},
        std::pair{kWriteUnchanged, "write unchanged"}, std::pair{kResize, "resize"}})
    if ((permissions & bit) != 0) text += (text.empty() ? "" : ", ") + std::string(word);
  return text;
}

// A backing file is only read, and may change when the parent's users bear that.
static Permission of_backing(Permission above, bool inactive) {
  Permission result{above.needed & kConsistentRead, kConsistentRead | kWriteUnchanged};
  if ((above.shared & kWrite) != 0 || inactive) result.shared |= kWrite | kResize;
  return result;
}

static Permission of_storage(Roles roles, Permission above, bool writable, bool inactive) {
  Permission result = above;
  if ((roles & kMetadata) != 0) {  // written at any time; nobody else may
    if (writable) result.needed |= kWrite | kResize;
    result.needed |= kConsistentRead;
    result.shared &= ~(kWrite | kResize);
  }
  if ((roles & kData) != 0) {  // nobody else may move its end; copied clusters are real writes
    result.shared &= ~kResize;
    if ((result.needed & kWriteUnchanged) != 0) result.needed |= kWrite;
    if ((result.needed & kWrite) != 0) result.needed |= kResize;
  }
  if (inactive) result.shared |= kWrite | kResize;
  return result;
}

Permission default_child_permission(Roles roles, Permission above, bool writable, bool inactive) {
  if ((roles & kFiltered) != 0) return above;
  if ((roles & kCow) != 0) return of_backing(above, inactive);
  return of_storage(roles, above, writable, inactive);
}

}  // namespace sim::block
