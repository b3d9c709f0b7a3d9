"""What the coordinator does in public: new models, the guard, validation."""
