"""The operations of rules on floats (`plain`) and on integers in the clear (`fixed`)."""
