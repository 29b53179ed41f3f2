// Text of the content source's enums.
#include "mirror/content_source.hpp"

namespace waggle::mirror {

std::string_view to_text(Source source) {
  switch (source) {
    case Source::local:
      return "local";
    case Source::peer:
      return "peer";
    case Source::upstream:
      break;
  }
  return "upstream";
}

}  // namespace waggle::mirror
