"""The real activities behind the stubs of `engine.ports`: where workflows meet stores, tools and models."""
