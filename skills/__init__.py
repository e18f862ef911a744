"""The catalogue of skills, the `@tool` decorator and the built-in skills as folders."""
