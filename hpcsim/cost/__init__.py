"""Closed-form costs: arrays in, arrays out, no clock, no input or output.

Every function broadcasts over its numeric arguments like a numpy ufunc: one configuration or a million. Nothing here is imported
eagerly, so that one law costs the import of one module::

    from hpcsim.cost import laws, training
"""
