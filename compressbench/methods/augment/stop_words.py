"""English words of grammar rather than content: they are never replaced."""

_WORDS = """
a an the this that these those such same other another each every either neither both all any some no none few many
much more most less least several enough own i me my mine myself we us our ours ourselves you your yours yourself
yourselves he him his himself she her hers herself it its itself they them their theirs themselves one oneself who
whom whose which what whatever whoever whichever when where why how whether somebody someone something anybody
anyone anything everybody everyone everything nobody nothing be am is are was were been being have has had having do
does did doing done will would shall should can could may might must ought need dare not nor never and or but yet so
if unless because since although though while whereas as than then else until till once lest thus hence therefore
however of in on at by for from to with without within into onto out off up down over under above below between
among amongst through throughout during before after about against along across around behind beside besides beyond
near toward towards upon via per despite except like unlike here there now again too also just only even very quite
rather almost already still ever s t d ll m re ve isn aren wasn weren hasn haven hadn doesn don didn won wouldn shan
shouldn couldn mightn mustn needn ain
"""

STOP_WORDS = frozenset(_WORDS.split())
