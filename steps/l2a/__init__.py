"""Writers of Level-2A products: images, XML documents, masks and the list of files."""
