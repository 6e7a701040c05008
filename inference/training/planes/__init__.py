"""The network of lesions and infarcts on planes, and the thorough ensemble it is part of."""
